"""Whether this machine computes right: operator by operator, forward and backward, against float64.

Wrong kernels are silent. Each operator runs in each dtype, memory layout and device on images 20, 33 and 57 pixels wide
(oneDNN takes other kernels above 28 and 32), and its result, the gradient of its input and the gradients of its weights
are compared with the same operator on the same numbers, in float64, NCHW, on the CPU.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from anysize.doctor.config import DoctorConfig
from anysize.doctor.operators import OPERATORS, Operator
from anysize.doctor.speed import Speed, measure_speeds
from anysize.errors import UsageError

__all__ = ["REMEDY", "WIDTHS", "NumericsReport", "Row", "check_numerics"]

WIDTHS = (20, 33, 57)
REMEDY = "anysize computes it in float32 instead (anysize.kernels)"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_TF32_EPSILON = 2.0**-10

Verdict = Literal["right", "gone round", "wrong", "not available"]
What = Literal["value", "input gradient", "weight gradient"]
Run = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison."""

    operator: str
    """Its name; 'anysize: ...' is the way that anysize takes where it does not call the operator as it is."""
    family: str
    dtype: str
    layout: Literal["NCHW", "channels_last"]
    """Memory layout of the input, the weights and the gradient of the result."""
    device: str
    what: What
    width: int
    """Of the images, in pixels."""
    error: float
    """Largest absolute error over the largest absolute value of the truth; infinite for NaN, NaN if not available."""
    bound: float
    """The largest error of a right kernel."""
    verdict: Verdict
    """'gone round': wrong on this machine, and anysize computes it in another way, which is right (its own rows)."""
    remedy: str = ""
    """What anysize does about it, or why there is nothing to compare."""

    @property
    def kernel(self) -> str:
        """What is wrong when this row is: operator, gradient, dtype, layout and device, whatever the width."""
        return f"{self.operator}, {self.what}, {self.dtype}, {self.layout}, {self.device}"


@dataclass(frozen=True)
class NumericsReport:
    """What `check_numerics` found."""

    rows: tuple[Row, ...]
    speeds: tuple[Speed, ...] = ()

    @cached_property
    def failures(self) -> tuple[Row, ...]:
        """Wrong kernels, those that anysize goes round included."""
        return tuple(row for row in self.rows if row.verdict in ("wrong", "gone round"))

    @property
    def ok(self) -> bool:
        """Whether anysize computes right on this machine: every kernel is right, or gone round."""
        return bool(self.rows) and all(row.verdict != "wrong" for row in self.rows)

    @property
    def conclusion(self) -> str:
        """One or two sentences."""
        wrong = {row.kernel for row in self.failures if row.verdict == "wrong"}
        avoided = {row.kernel for row in self.failures} - wrong
        parts = []
        if avoided:
            them = "it" if len(avoided) == 1 else "them"
            parts.append(f"{_wrong(len(avoided))}; anysize goes round {them}.")
        if wrong:
            them = "it" if len(wrong) == 1 else "them"
            parts.append(f"{_wrong(len(wrong))}, and anysize does not go round {them}.")
        return " ".join(parts) if parts else "All kernels are right."


def check_numerics(
    options: DoctorConfig | None = None,
    *,
    operators: Sequence[Operator] = OPERATORS,
    widths: Sequence[int] = WIDTHS,
    speeds: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> NumericsReport:
    """Compare operators with float64.

    Args:
        options: which dtypes and devices; by default all.
        operators: what to check.
        widths: widths of the images in pixels.
        speeds: measure the convolution in each dtype as well.
        progress: called with how many operators are done, and of how many.

    The global random state is not touched.

    Raises:
        UsageError: a device that this machine does not have.
    """
    options = options or DoctorConfig()
    dtypes = list(_DTYPES) if options.dtype == "all" else [options.dtype]
    devices = _devices(options.device)
    rows: list[Row] = []
    # An autocast or no_grad around the call is not what is checked.
    with torch.autocast("cpu", enabled=False), torch.inference_mode(False), torch.enable_grad():
        for done, operator in enumerate(operators):
            for dtype in dtypes:
                for width in widths:
                    rows += _check(operator, dtype, width, devices)
            if progress is not None:
                progress(done + 1, len(operators))
    measured = measure_speeds(dtypes, devices) if speeds else ()
    return NumericsReport(tuple(rows), tuple(measured))


def _devices(name: str) -> list[torch.device]:
    if name == "all":
        return [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {reason}", hint="use --device all or cpu") from error
    return [device]


def _check(operator: Operator, dtype: str, width: int, devices: list[torch.device]) -> Iterator[Row]:
    tensors = [tensor.to(_DTYPES[dtype]) for tensor in _draw(operator, width)]
    truth = _forward_and_backward(operator.compute, [tensor.double() for tensor in tensors])
    layouts: tuple[Literal["NCHW", "channels_last"], ...] = ("NCHW", "channels_last")
    for device in devices:
        for layout in layouts if tensors[0].ndim in _CHANNELS_LAST else layouts[:1]:

            def rows(name: str, run: Run, layout: Literal["NCHW", "channels_last"] = layout) -> list[Row]:
                return _compare(operator, name, run, tensors, truth, (dtype, layout, device, width))  # noqa: B023

            direct = rows(operator.name, operator.compute)
            if operator.detour is None:
                yield from direct
                continue
            own = rows(f"anysize: {operator.name}", operator.detour)
            yield from (_judge_again(row, around) for row, around in zip(direct, own, strict=True))
            yield from own


def _draw(operator: Operator, width: int) -> list[Tensor]:
    """The input, the weights and the gradient of the result, float32."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{operator.name} {width}".encode()))
    shape = operator.input_shape(width)
    if operator.distinct:
        # Sixteen different numbers, each row and column repeated after four: no window of 4x4 holds one twice.
        places = torch.randperm(16, generator=generator, device="cpu").view(4, 4) - 7.5
        tiled = places.repeat(-(-shape[2] // 4), -(-shape[3] // 4))[: shape[2], : shape[3]]
        input = tiled.expand(shape).contiguous()
    else:
        input = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    weights = [torch.randn(s, generator=generator, dtype=torch.float32, device="cpu") for s in operator.weights]
    with torch.no_grad():
        result = operator.compute(input, *weights)
    gradient = torch.randn(result.shape, generator=generator, dtype=torch.float32, device="cpu")
    return [input, *weights, gradient]


def _forward_and_backward(run: Run, tensors: list[Tensor]) -> list[Tensor]:
    """The result, the gradient of the input, and the gradients of the weights."""
    *inputs, gradient = tensors
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    result = run(*leaves)
    return [result.detach(), *torch.autograd.grad(result, leaves, gradient)]


def _compare(
    operator: Operator,
    name: str,
    run: Run,
    tensors: list[Tensor],
    truth: list[Tensor],
    place: tuple[str, Literal["NCHW", "channels_last"], torch.device, int],
) -> list[Row]:
    dtype, layout, device, width = place

    def row(what: What, error: float, bound: float, verdict: Verdict, remedy: str = "") -> Row:
        return Row(
            operator=name, family=operator.family, dtype=dtype, layout=layout, device=str(device), what=what,
            width=width, error=error, bound=bound, verdict=verdict, remedy=remedy,
        )  # fmt: skip

    try:
        found = _forward_and_backward(run, [_laid(tensor.to(device), layout) for tensor in tensors])
    except RuntimeError as refused:  # NotImplementedError is one
        # Only what torch says it cannot do in this dtype: any other fault is ours to see.
        if "not implemented" not in str(refused):
            raise
        return [row("value", float("nan"), float("nan"), "not available", str(refused).splitlines()[0])]
    if found[0].dtype != tensors[0].dtype:
        raise TypeError(f"{name} returned {found[0].dtype} for {dtype}")
    kinds: list[What] = ["value", "input gradient", *["weight gradient"] * (len(found) - 2)]  # type: ignore[list-item]
    rows: dict[What, Row] = {}
    for what, one, other in zip(kinds, found, truth, strict=True):
        error = _error(one, other)
        bound = _bound(operator, tensors[0], what, device)
        if what not in rows or not error <= rows[what].error:  # the worst of the weights
            rows[what] = row(what, error, bound, "right" if error <= bound else "wrong")
    return list(rows.values())


def _judge_again(row: Row, around: Row) -> Row:
    """A wrong kernel is gone round where the way that anysize takes is right."""
    if row.verdict != "wrong" or around.verdict != "right":
        return row
    return Row(**{**vars(row), "verdict": "gone round", "remedy": REMEDY})


def _laid(tensor: Tensor, layout: str) -> Tensor:
    if layout == "NCHW" or tensor.ndim not in _CHANNELS_LAST:
        return tensor.contiguous()
    # Not contiguous(), which leaves the strides of depthwise weights as they are; models are converted by this.
    return tensor.to(memory_format=_CHANNELS_LAST[tensor.ndim])


def _error(found: Tensor, truth: Tensor) -> float:
    worst = (found.to("cpu", torch.float64) - truth).abs().max() / truth.abs().max()
    return float(worst.nan_to_num(nan=torch.inf, posinf=torch.inf))


def _bound(operator: Operator, input: Tensor, what: What, device: torch.device) -> float:
    """The largest error of a right kernel, relative to the largest element of the truth.

    Two sources. Values are rounded to the dtype a few times on their way, each an error of half an epsilon of the
    value or less: `Operator.roundings` epsilons in all. And n products are summed in float32 (or better; torch's
    kernels sum reduced dtypes in float32). By Higham and Mary (A new approach to probabilistic rounding error
    analysis, 2019) the error of a sum is below a small multiple of sqrt(n) half epsilons times the sum of the terms'
    magnitudes, and that, for terms of random sign, is about sqrt(n) times the sum itself: n float32 epsilons in all.
    Garbage has an error of about 1, or far more.
    """
    epsilon = torch.finfo(input.dtype).eps
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    if device.type == "cuda" and input.dtype == torch.float32 and operator.weights and tf32:
        epsilon = _TF32_EPSILON  # a setting of the user's (for convolutions torch's default), not a fault
    of_weight = what == "weight gradient"
    terms = operator.terms(tuple(input.shape), of_weight=of_weight)
    roundings: float = operator.roundings
    if of_weight and operator.weight_sums_in_dtype:
        # Each of n additions rounds a partial sum that wanders off like the square root of its length; the errors add
        # up in the same way, to about sqrt(n) / 5 epsilons of the sum.
        roundings += terms**0.5 / 2
    return roundings * epsilon + terms * torch.finfo(torch.float32).eps


def _wrong(count: int) -> str:
    return "1 kernel of this machine is wrong" if count == 1 else f"{count} kernels of this machine are wrong"
