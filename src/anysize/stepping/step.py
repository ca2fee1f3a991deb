"""One optimiser step: micro-batches add up numerator and denominator apart, and are divided once."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from anysize.errors import NonFiniteLossError, TrainingError
from anysize.loading import Normalisation, RawBatch
from anysize.losses import LossSum, cross_entropy
from anysize.memory import Undo, attempt, free_memory, is_out_of_memory
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.passes import Passes

__all__ = ["StepSums", "train_step"]


@dataclass
class StepSums:
    """Sums over images: of one step, or of many added up."""

    loss: float = 0.0
    num_images: int = 0
    num_right: int = 0
    num_real: int = 0
    """Real pixels."""
    num_canvas: int = 0
    """Canvas pixels."""
    wait_seconds: float = 0.0
    """Time in which the model waited for data."""
    seconds: float = 0.0

    @property
    def mpx_per_s(self) -> float:
        """Real megapixels a second."""
        return self.num_real / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """1 - real/padded."""
        return 1 - self.num_real / self.num_canvas if self.num_canvas else 0.0

    @property
    def wait_share(self) -> float:
        """The share of the time in which the model waited for data."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0

    def add(self, other: "StepSums") -> None:
        """Add another's sums to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[RawBatch],
    normalisation: Normalisation,
    *,
    device: torch.device,
    channels_last: bool,
    passes: Passes,
    label_smoothing: float,
    name_of: Callable[[int], str],
) -> StepSums:
    """Update ``model`` once, with the gradient of sum/count over all images of the step.

    Args:
        model: takes a ragged batch or group, returns logits (N, K).
        optimizer: its learning rate is set.
        batches: the micro-batches of the step.
        normalisation: bytes to floats.
        device: where the model is.
        channels_last: memory format of the images.
        passes: how many of them go through the network at once; halved when memory runs out.
        label_smoothing: see `anysize.losses.cross_entropy`.
        name_of: file name of an image, for errors.

    Raises:
        NonFiniteLossError: the loss or its gradient is NaN or infinite; no parameter was updated.
        ImageSizeError: an image does not fit into memory by itself; no parameter was updated.
        TrainingError: memory ran out in the update itself.
    """
    sums = StepSums()
    started = time.perf_counter()
    kept = _Kept(_timed(batches, sums))
    undo = Undo(model, device)
    passes.begin()

    def run(group: list[RawBatch]) -> StepSums:
        return _run_pass(
            model,
            [normalisation(raw, device, channels_last=channels_last) for raw in group],
            _targets(group).to(device, non_blocking=True),
            label_smoothing,
        )

    while True:
        done, failed, said = _accumulate(model, optimizer, passes.divide(kept.all()), run, name_of)
        if failed is None:
            break
        # The sum of the gradients may hold half of a pass, so the step begins anew, from the bytes of its images.
        undo()
        free_memory(device)
        passes.shrink(failed, model, device, said)
    if not (passes.has_updated or optimizer.state):
        free_memory(device)  # the optimiser makes its state now, which takes as much as the weights, or twice
    _update(optimizer, device)
    passes.has_updated = True
    sums.add(done)
    sums.seconds = time.perf_counter() - started
    return sums


class _Kept:
    """The micro-batches of a step, kept as bytes: they are given again, and then the ones that are still to come."""

    def __init__(self, source: Iterator[RawBatch]) -> None:
        self._source = source
        self._met: list[RawBatch] = []

    def all(self) -> Iterator[RawBatch]:
        """From the first one."""
        yield from tuple(self._met)
        while (raw := next(self._source, None)) is not None:
            self._met.append(raw)
            yield raw


def _accumulate(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    groups: Iterator[list[RawBatch]],
    run: Callable[[list[RawBatch]], StepSums],
    name_of: Callable[[int], str],
) -> tuple[StepSums, list[RawBatch] | None, str]:
    """Leave the gradient of the step in the parameters.

    Returns:
        Sums, and what went through the network when memory ran out (None: all is well), with what was said.
    """
    sums = StepSums()
    names: list[str] = []
    group: list[RawBatch] = []
    for group in groups:
        result, said = attempt(lambda group=group: run(group))  # type: ignore[misc]
        if result is None:
            return sums, group, said
        indices = [index for raw in group for index in raw.indices]
        names += [name_of(index) for index in indices]
        if not math.isfinite(result.loss):
            optimizer.zero_grad(set_to_none=True)
            raise _non_finite(f"the loss is {result.loss}", names[-len(indices) :])
        result.num_real = sum(raw.num_real for raw in group)
        result.num_canvas = sum(raw.num_canvas for raw in group)
        sums.add(result)
    norm, said = attempt(lambda: _average(model, sums.num_images))
    if norm is None:
        return sums, group, said
    if not math.isfinite(norm):
        optimizer.zero_grad(set_to_none=True)
        raise _non_finite(f"the loss is finite and its gradient has the norm {norm}", names)
    return sums, None, ""


def _average(model: nn.Module, num_images: int) -> float:
    """Divide the gradients by the images of the step; returns their norm."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    torch._foreach_div_(gradients, float(num_images))
    return float(torch.nn.utils.get_total_norm(gradients))


def _update(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    try:
        optimizer.step()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory on {device}, in the update by {type(optimizer).__name__}; some weights may be updated and "
            "others not",
            hint="--resume goes on from the last checkpoint; a lower --max-pixels, --opt sgd (no state, or less) or a "
            "smaller network leaves more memory",
        ) from error
    optimizer.zero_grad(set_to_none=True)


def _run_pass(model: nn.Module, parts: list[RaggedBatch], targets: torch.Tensor, label_smoothing: float) -> StepSums:
    """Forward and backward of one pass; a loss that is not finite is not sent backwards."""
    logits = model(parts[0] if len(parts) == 1 else RaggedGroup(parts))
    _check_logits(logits, len(targets))
    loss: LossSum = cross_entropy(logits, targets, label_smoothing=label_smoothing)
    value = loss.total.item()
    if math.isfinite(value):
        loss.total.backward()  # type: ignore[no-untyped-call]
    num_right = int((logits.detach().argmax(dim=1) == targets).sum())
    return StepSums(loss=value, num_images=loss.count, num_right=num_right)


def _targets(group: list[RawBatch]) -> torch.Tensor:
    targets = [raw.targets for raw in group if raw.targets is not None]
    if len(targets) != len(group):
        raise TrainingError("training needs labels, and this data set has none")
    return torch.cat(targets)


def _timed(batches: Iterable[RawBatch], sums: StepSums) -> Iterator[RawBatch]:
    """Pass ``batches`` on, and add the time spent waiting for each to ``sums``."""
    iterator = iter(batches)
    while True:
        started = time.perf_counter()
        raw = next(iterator, None)
        sums.wait_seconds += time.perf_counter() - started
        if raw is None:
            return
        yield raw


def _check_logits(logits: object, num_images: int) -> None:
    if isinstance(logits, RaggedBatch | RaggedGroup) or not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise TrainingError(
            f"the network returned {logits!r:.200}; a classifier must return one row of logits an image, "
            f"({num_images}, K)",
            hint="end the network with global pooling and flatten",
        )


def _non_finite(found: str, names: list[str]) -> NonFiniteLossError:
    listing = "\n  ".join(names)
    return NonFiniteLossError(
        f"{found}; training stopped before the update. The images of the batch:\n  {listing}",
        hint="lower --lr, or raise --warmup-epochs; if it always happens on the same files, look at them",
    )
