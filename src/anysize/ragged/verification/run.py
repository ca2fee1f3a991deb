"""`verify`: a model's own answer to the question whether it is exact on images of mixed sizes."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

import torch
from torch import Tensor, nn

from anysize.errors import (
    AnysizeError,
    ImageSizeError,
    MixedSizesError,
    RaggedError,
    UnsupportedOperatorError,
    UsageError,
)
from anysize.ragged.verification.comparison import (
    Compared,
    Measured,
    alone,
    compare,
    compare_values,
    draw_weights,
    measure,
    together,
)
from anysize.ragged.verification.deviation import first_deviation
from anysize.ragged.verification.outputs import largest
from anysize.ragged.verification.preparation import LADDERS, NarrowingWatch, draw_images, first_convolution, prepared
from anysize.ragged.verification.report import Deviation, Entry, Failure, VerifyReport, largest_value_error

__all__ = ["TOLERANCES", "verify"]

TOLERANCES: dict[torch.dtype, tuple[float, float]] = {
    # (values and statistics, gradients). Sums are taken in another order, and a deep network with random weights
    # amplifies that rounding: a hundredfold for ResNet-18, more behind batch normalisation over few pixels.
    torch.float64: (1e-9, 1e-7),
    torch.float32: (1e-3, 1e-2),
    # Eight and eleven bits: only gross leaks show. float64 is what proves exactness.
    torch.bfloat16: (2e-1, 5e-1),
    torch.float16: (5e-2, 2e-1),
}
"""What errors may be, relative to the largest true magnitude."""

NOISE_FACTOR = 10.0
"""In the working dtype an error may also be this many times what rounding does to each image alone: the distance
between the model alone in that dtype and in float64."""

_MODES = ("evaluation", "training")
_REFUSALS = (UnsupportedOperatorError, MixedSizesError, ImageSizeError)


@dataclass(slots=True)
class _Findings:
    """A report in the making."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    first: Deviation | None = None
    casts: bool = False

    def give_up(self, error: Exception, model: nn.Module, mode: str, dtype: torch.dtype) -> None:
        """Record a run that ended in an exception."""
        # torch's own parser turns a Length away before a rule is asked: avg_pool2d(x, x.shape[2:])
        of_length = isinstance(error, TypeError) and "Length" in str(error)
        is_refusal = isinstance(error, _REFUSALS) or of_length
        named = re.match(r"[\w.]+(?= (?:\(called in|was given))", str(error)) if is_refusal else None
        why = error.message if isinstance(error, AnysizeError) else f"{type(error).__name__}: {error}"
        (self.refused if is_refusal else self.failed).append(
            Failure(
                mode=mode,
                dtype=_name(dtype),
                function=named[0] if named else "",
                module=_module_path(error.__traceback__, model),
                why=why,
            )
        )

    def report(self, sizes: tuple[tuple[int, ...], ...], reason: str) -> VerifyReport:
        exact = bool(self.entries) and not self.refused and not self.failed and all(e.exact for e in self.entries)
        return VerifyReport(
            exact=exact,
            max_error=largest_value_error(self.entries),
            entries=tuple(self.entries),
            refused=tuple(self.refused),
            failed=tuple(self.failed),
            first_deviation=self.first,
            sizes=sizes,
            sizes_reason=reason,
            casts=self.casts,
        )


@dataclass(frozen=True, slots=True)
class _Trial:
    """One mode and dtype."""

    base: nn.Module
    images: list[Tensor]
    mode: str
    dtype: torch.dtype
    device: torch.device
    tolerances: tuple[float, float]
    seed: int

    def model(self) -> nn.Module:
        """A copy for one run."""
        return _copied(self.base, self.mode, self.dtype, self.device)

    def inputs(self) -> list[Tensor]:
        return [image.to(self.device, self.dtype) for image in self.images]


def verify(
    model: nn.Module,
    *,
    in_channels: int | None = None,
    sizes: Sequence[Sequence[int]] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    training: bool = True,
    tolerance: float | None = None,
    randomise: bool = True,
    seed: int = 0,
) -> VerifyReport:
    """Run ``model`` on a handful of awkward sizes, each image alone and all together, and compare.

    Values, gradients of inputs and parameters, and in training the running statistics are compared in float64 and in
    the working dtype, in evaluation and training mode; in evaluation also with other partners in the batch. The padding
    is filled with NaN. The truth is the model itself on plain tensors (1, C, *size); in training, batch normalisation
    sees all images, as it would in one batch.

    The model is not changed: copies run. On them parameters and running statistics are random (fresh ones hide leaks),
    every parameter has a gradient, all modules are in the one mode or the other (frozen ones too), and chance is taken
    out, because no two runs draw alike: functional dropouts do nothing, ``StochasticDepth``, ``DropPath`` and
    ``DropBlock2d`` never drop.

    >>> report = verify(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()))
    >>> report.exact, report.verdict
    (True, 'exact')

    Args:
        model: takes (N, C, *size) with one to three spatial axes; returns tensors, or tuples, lists, mappings or
            dataclasses of them, with the images along the first axis.
        in_channels: C; by default that of the first convolution.
        sizes: true sizes of the images, two or more; by default small odd ones, or larger ones or multiples of 32 where
            the model needs them alone.
        dtype: the working dtype, beside float64; by default that of the parameters.
        device: where to run; by default where the model is.
        training: verify training mode as well.
        tolerance: what errors of values may be in float64, relative; gradients may err a hundred times as much.
        randomise: False keeps the model's own parameters and statistics.
        seed: of parameters and images.

    Returns:
        The report. A refused operator is listed there, not raised.

    Raises:
        UsageError: the channels cannot be found out, or sizes that are none.
        RaggedError: the model takes none of the sizes alone, or returns nothing that can be compared.
    """
    own = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    dtype = own.dtype if dtype is None else dtype
    place = own.device if device is None else torch.device(device)
    modes = _MODES if training else _MODES[:1]
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = prepared(model, randomise=randomise, seed=seed)
        images, reason = _accepted_images(base, in_channels, sizes, modes, _double_device(place), seed)
        findings = _Findings(casts=_casts(base, images, _double_device(place)))
        for mode in modes:
            _verify_mode(findings, base, images, mode, dtype, place, tolerance, seed)
    return findings.report(tuple(tuple(image.shape[1:]) for image in images), reason)


def _verify_mode(
    findings: _Findings, base: nn.Module, images: list[Tensor], mode: str, working: torch.dtype, device: torch.device,
    tolerance: float | None, seed: int,
) -> None:  # fmt: skip
    judged_as = torch.float32 if findings.casts else torch.float64
    tolerances = TOLERANCES[judged_as] if tolerance is None else (tolerance, 100 * tolerance)
    trial = _Trial(base, images, mode, torch.float64, _double_device(device), tolerances, seed)
    exact_truth = _verify_trial(findings, trial, None)
    if exact_truth is not None and working != torch.float64:  # what float64 refuses, others would as well
        trial = _Trial(base, images, mode, working, device, TOLERANCES[working], seed)
        _verify_trial(findings, trial, exact_truth)


def _verify_trial(findings: _Findings, trial: _Trial, exact_truth: Measured | None) -> Measured | None:
    """Compare one mode in one dtype; return the truth, or None where the run together ended in an exception."""
    truth = measure(trial.model(), alone, trial.inputs(), None, trial.seed + 1)
    if not truth.values:
        raise RaggedError(
            "the model returns no tensor with the images along its first axis, so there is nothing to compare",
            hint="wrap the model in a module that returns tensors (N, ...)",
        )
    proves_nothing = _emptiness(truth)
    if proves_nothing:
        findings.give_up(ArithmeticError(proves_nothing), trial.base, trial.mode, trial.dtype)
        return None
    floors: dict[tuple[str, str], float] = {}
    if exact_truth is not None:
        floors = {(found.kind, found.output): found.error for found in compare(truth, exact_truth)}
    mine = trial.model()
    try:
        got = measure(mine, together, trial.inputs(), draw_weights(truth.values, trial.seed + 1), 0)
        compared = _compare_partners(trial, truth) if trial.mode == "evaluation" else []
        compared += compare(got, truth, statistics=trial.mode == "training")
    except Exception as error:  # any fault of the run together is a finding, not an end
        findings.give_up(error, mine, trial.mode, trial.dtype)
        return None
    entries = [_entry(found, trial, floors) for found in compared]
    findings.entries += entries
    if findings.first is None:
        findings.first = _first_deviation(trial, entries, compared)
    return truth


def _emptiness(truth: Measured) -> str:
    """Say why agreement with ``truth`` would prove nothing; empty if it would."""
    for path, values in truth.values.items():
        if not all(bool(torch.isfinite(value).all()) for value in values):
            return f"output {path} of the model alone is not finite, so nothing can be compared"
    gradients = [gradient for gradient in truth.input_gradients.values() if gradient is not None]
    if gradients and not largest(gradients):
        return "the outputs of the model alone do not depend on the images, so nothing can be compared"
    return ""


def _compare_partners(trial: _Trial, truth: Measured) -> list[Compared]:
    """All images but the first, in reverse order: others stand beside each, on another canvas."""
    order = range(len(trial.images) - 1, 0, -1)
    if not order:
        return []
    inputs = trial.inputs()
    with torch.no_grad():
        values = together(trial.model(), [inputs[number] for number in order])
    return [
        compare_values("partners", path, values.get(path, []), [images[number] for number in order])
        for path, images in truth.values.items()
    ]


def _entry(found: Compared, trial: _Trial, floors: dict[tuple[str, str], float]) -> Entry:
    tolerance = trial.tolerances["gradients" in found.kind]
    kind = "values" if found.kind == "partners" else found.kind
    return Entry(
        mode=trial.mode,
        dtype=_name(trial.dtype),
        output=found.output,
        kind=found.kind,
        error=found.error,
        tolerance=max(tolerance, NOISE_FACTOR * floors.get((kind, found.output), 0.0)),
        worst=found.worst,
    )


def _first_deviation(trial: _Trial, entries: list[Entry], compared: list[Compared]) -> Deviation | None:
    wrong = [(entry, found) for entry, found in zip(entries, compared, strict=True) if not entry.exact]
    if not wrong:
        return None
    mode, dtype = trial.mode, _name(trial.dtype)
    found = first_deviation((trial.model(), trial.model()), trial.inputs(), wrong[0][0].tolerance)
    if found is not None:
        return Deviation(mode=mode, dtype=dtype, module=found[0], what="output", error=found[1])
    for entry, result in wrong:
        # Gradients arise from the last module to the first, statistics the other way round.
        names = [name for name, error in result.errors.items() if error > entry.tolerance]
        if entry.kind in ("parameter gradients", "statistics") and names:
            name = names[-1] if entry.kind == "parameter gradients" else names[0]
            return Deviation(
                mode=mode, dtype=dtype, module=name.rpartition(".")[0], what=entry.kind, error=result.errors[name]
            )
    return None


def _accepted_images(
    base: nn.Module, in_channels: int | None, sizes: Sequence[Sequence[int]] | None, modes: Sequence[str],
    device: torch.device, seed: int,
) -> tuple[list[Tensor], str]:  # fmt: skip
    """Draw images of the first sizes that the model takes alone; and say why of no others."""
    convolution = first_convolution(base)
    if in_channels is None:
        if convolution is None:
            raise UsageError(
                f"{type(base).__name__} has no convolution that would tell how many channels its images have",
                hint="pass in_channels=3",
            )
        in_channels = convolution[0]
    ladder = LADDERS[convolution[1] if convolution else 2] if sizes is None else (tuple(map(tuple, sizes)),)
    reasons: list[str] = []
    for candidates in ladder:
        images = draw_images(candidates, in_channels, seed + 2)
        try:
            for mode in modes:
                model = _copied(base, mode, torch.float64, device)
                with torch.no_grad():
                    alone(model, [image.to(device) for image in images])
        except Exception as error:  # whatever a model says to an image that it cannot take
            reasons.append(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            continue
        multiples = all(length % 32 == 0 for size in candidates for length in size)
        what = "multiples of 32" if multiples else "larger images"
        return images, f"{what}, because the model alone ends on others in {reasons[0]}" if reasons else ""
    largest_size = "x".join(map(str, ladder[-1][-1]))
    raise RaggedError(
        f"{type(base).__name__} takes none of the sizes alone in float64, up to {largest_size}; the last attempt ended "
        f"in {reasons[-1]}",
        hint="pass sizes= that the model takes, each image alone",
    )


def _casts(base: nn.Module, images: list[Tensor], device: torch.device) -> bool:
    """Whether the model alone, in float64, casts to a narrower dtype inside."""
    with NarrowingWatch() as watch, torch.no_grad():
        alone(_copied(base, "evaluation", torch.float64, device), [images[0].to(device, torch.float64)])
    return bool(watch.narrows)


def _copied(base: nn.Module, mode: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
    return copy.deepcopy(base).to(device=device, dtype=dtype).train(mode == "training")


def _double_device(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # which has no float64


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _module_path(trace: TracebackType | None, model: nn.Module) -> str:
    """The innermost module in which an error arose, as a path from ``model``."""
    inner: nn.Module = model
    while trace is not None:
        candidate = trace.tb_frame.f_locals.get("self")
        if isinstance(candidate, nn.Module):
            inner = candidate
        trace = trace.tb_next
    name = next((name for name, module in model.named_modules() if module is inner), "")
    return ".".join(part for part in (type(model).__name__, name) if part)
