"""One optimiser step: micro-batches add up numerator and denominator apart, and are divided once."""

import math
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from anysize.errors import NonFiniteLossError, TrainingError
from anysize.loading import Normalisation, RawBatch
from anysize.memory import Undo, attempt, free_memory
from anysize.ragged import together
from anysize.stepping.criterion import Criterion, targets_of
from anysize.stepping.passes import Passes
from anysize.stepping.sums import StepSums
from anysize.stepping.update import average_gradients, update

__all__ = ["train_step"]


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[RawBatch],
    normalisation: Normalisation,
    criterion: Criterion,
    *,
    device: torch.device,
    channels_last: bool,
    passes: Passes,
    name_of: Callable[[int], str],
) -> StepSums:
    """Update ``model`` once, with the gradient of sum/count over all images of the step.

    Args:
        model: takes a ragged batch or group; returns logits (N, K), maps of them, or a mapping with an auxiliary head.
        optimizer: its learning rate is set.
        batches: the micro-batches of the step.
        normalisation: bytes to floats.
        criterion: the loss.
        device: where the model is.
        channels_last: memory format of the images.
        passes: how many of them go through the network at once; halved when memory runs out.
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
    divisors = _step_counts(kept, criterion) if criterion.needs_counts else None

    def run(group: list[RawBatch]) -> StepSums:
        parts = [normalisation(raw, device, channels_last=channels_last) for raw in group]
        output = model(together(parts))
        loss, done = criterion.judge(output, targets_of(group, device), divisors)
        if not loss.requires_grad:
            raise TrainingError(
                "the loss depends on no parameter that can learn: every layer is frozen, or cut off by detach()",
                hint="set requires_grad on the layers that are to learn",
            )
        if math.isfinite(sum(done.totals)):  # a loss that is not finite is not sent backwards
            loss.backward()  # type: ignore[no-untyped-call]
        return done

    while True:
        done, failed, said = _accumulate(model, optimizer, passes.divide(kept.all()), run, name_of, divisors is None)
        if failed is None:
            break
        # The sum of the gradients may hold half of a pass, so the step begins anew, from the bytes of its images.
        undo()
        free_memory(device)
        passes.shrink(failed, model, device, said)
    if not (passes.has_updated or optimizer.state):
        free_memory(device)  # the optimiser makes its state now, which takes as much as the weights, or twice
    update(optimizer, device)
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


def _step_counts(kept: _Kept, criterion: Criterion) -> tuple[float, ...]:
    """What each term of the loss counts in the whole step, from its targets alone."""
    counts = [criterion.counts(targets_of([raw], torch.device("cpu"))) for raw in kept.all()]
    return tuple(sum(column) for column in zip(*counts, strict=True))


def _accumulate(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    groups: Iterator[list[RawBatch]],
    run: Callable[[list[RawBatch]], StepSums],
    name_of: Callable[[int], str],
    divided_at_the_end: bool,
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
        result.num_images = len(indices)
        result.num_real = sum(raw.num_real for raw in group)
        result.num_canvas = sum(raw.num_canvas for raw in group)
        sums.add(result)
    # A step in which every pixel is ignored has a sum of zero, and zero for a gradient.
    count = (sums.counts[0] or 1.0) if divided_at_the_end else 1.0
    norm, said = attempt(lambda: average_gradients(model, count))
    if norm is None:
        return sums, group, said
    if not math.isfinite(norm):
        optimizer.zero_grad(set_to_none=True)
        raise _non_finite(f"the loss is finite and its gradient has the norm {norm}", names)
    return sums, None, ""


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


def _non_finite(found: str, names: list[str]) -> NonFiniteLossError:
    listing = "\n  ".join(names)
    return NonFiniteLossError(
        f"{found}; training stopped before the update. The images of the batch:\n  {listing}",
        hint="lower --lr, or raise --warmup-epochs; if it always happens on the same files, look at them",
    )
