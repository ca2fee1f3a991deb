"""Time real passes of a network on canvases of a few sizes."""

import copy
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import nn

from anysize.errors import UsageError
from anysize.losses import cross_entropy
from anysize.models import smallest_side
from anysize.ragged import Padding, RaggedBatch
from anysize.remembered import Store, circumstances
from anysize.timing.cost import StepCost, Timing, fit_cost

__all__ = ["measure_speed"]

_FORMAT = 1  # raised whenever the way of measuring changes
_STORE = Store("speed.json")
_ENOUGH_SECONDS = 7.0
_ROUNDS = 7
_LARGEST_PASS_SECONDS = 0.15  # a pass that takes so long tells the price of a pixel, even on a busy machine
_MOST_PIXELS = 1 << 22

Canvas = tuple[int, int, int]
"""Images, height, width."""

# Of odd sizes, which no data set is likely to have met before in this process; the last ones are large.
_SMALL: tuple[Canvas, ...] = (
    (1, 67, 61),
    (3, 59, 83),
    (2, 101, 73),
    (1, 87, 69),
    (2, 91, 65),
    (1, 103, 95),
    (5, 71, 93),
)
_LARGE: tuple[Canvas, ...] = ((4, 163, 131), (8, 197, 223), (12, 307, 321), (16, 411, 509))


def measure_speed(
    model: nn.Module,
    *,
    in_channels: int = 3,
    training: bool = True,
    device: torch.device | str | None = None,
    channels_last: bool = True,
    optimizer: torch.optim.Optimizer | None = None,
    fresh: bool = False,
) -> StepCost:
    """Measure what passes through ``model`` cost, in less than ten seconds, or recall what was measured.

    Canvases of several sizes take turns, so that what else the machine does falls on all of them. Remembered for the
    network, device, dtype, mode, number of threads and version of torch, in the cache folder, unless the machine was
    so busy that like passes differed much.

    Args:
        model: returns logits (N, K) of a ragged batch. A copy of it runs; its weights and statistics stay.
        in_channels: of the images.
        training: forward, cross-entropy and backward, with batch normalisation as training runs it; else a forward
            alone, in evaluation mode.
        device: where it runs; by default where ``model`` is.
        channels_last: memory format of network and images.
        optimizer: of ``model``; its update is timed. None for no update.
        fresh: measure anew.

    Raises:
        UsageError: the network does not return one row of logits an image.
    """
    place = torch.device(device) if device is not None else _device_of(model)
    key = circumstances(
        model,
        place,
        optimizer=optimizer if training else None,
        format=_FORMAT,
        training=training,
        in_channels=in_channels,
        channels_last=channels_last,
    )
    known = None if fresh else _recall(key)
    if known is None:
        passes = _Passes(model, in_channels, training, place, channels_last, optimizer)
        known = _measure(passes, _scale(model, in_channels))
        if known.is_steady and not _is_busy():
            _STORE.remember(key, asdict(known))
    return known


def _is_busy() -> bool:
    """Whether more runs on this machine than its cores can bear: a steady load makes steady and wrong figures."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.25 * (os.cpu_count() or 1)


def _recall(key: str) -> StepCost | None:
    figures = _STORE.recall(key)
    try:
        cost = None if figures is None else StepCost(**figures)  # type: ignore[arg-type]  # rounds is an integer
    except TypeError:
        return None
    return cost if cost is not None and cost.seconds_per_pixel > 0 else None


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _scale(model: nn.Module, in_channels: int) -> int:
    """How many times larger canvases must be for networks that take no small images."""
    return max(1, -(-2 * smallest_side(model, in_channels) // 59))


class _Passes:
    """Passes through a copy of the network on ``device``, each timed until the device has finished it."""

    def __init__(
        self,
        model: nn.Module,
        in_channels: int,
        training: bool,
        device: torch.device,
        channels_last: bool,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        # Together, so that the copied optimiser has the copied parameters.
        self._model, self._optimizer = copy.deepcopy((model, optimizer if training else None))
        self._model.to(device=device, memory_format=self._layout).train(training)  # type: ignore[call-overload]
        self._in_channels, self._training, self.device = in_channels, training, device

    def batch(self, canvas: Canvas) -> RaggedBatch:
        """Images a little smaller than their canvas: those that fill it are ordinary tensors, which take less."""
        count, height, width = canvas
        images = torch.rand(count, self._in_channels, height, width, device=self.device)
        sizes = [(height - 1 - number % 3, width - 2 - number % 5) for number in range(count)]
        return RaggedBatch(images.to(memory_format=self._layout), sizes, padding=Padding.FINITE)

    def seconds(self, batch: RaggedBatch) -> float:
        """Time one pass."""
        labels = torch.zeros(len(batch), dtype=torch.int64, device=self.device)
        self._model.zero_grad(set_to_none=True)
        return self._timed(lambda: self._run(batch, labels))

    def update_seconds(self) -> float:
        """Time one update with the gradients that are there; 0 where nothing is updated."""
        return self._timed(self._update) if self._training else 0.0

    def _run(self, batch: RaggedBatch, labels: torch.Tensor) -> None:
        with torch.inference_mode(not self._training):
            logits = self._model(batch)
            if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
                raise UsageError(
                    f"the network returned {type(logits).__name__}; one row of logits an image is required",
                    hint="end the network with global pooling and flatten",
                )
            loss = cross_entropy(logits, labels).total
        if self._training:
            float(loss.detach())  # as training does, to stop before a loss that is not finite
            loss.backward()  # type: ignore[no-untyped-call]

    def _update(self) -> None:
        gradients = [parameter.grad for parameter in self._model.parameters() if parameter.grad is not None]
        if gradients:
            torch._foreach_div_(gradients, 2.0)
            float(torch.nn.utils.get_total_norm(gradients))
        if self._optimizer is not None:
            self._optimizer.step()

    def _timed(self, work: Callable[[], None]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def _measure(passes: _Passes, scale: int) -> StepCost:
    started = time.monotonic()
    # What is drawn here must not change what training draws later.
    with torch.random.fork_rng(devices=[passes.device] if passes.device.type == "cuda" else []):
        _warm_up(passes, scale)
        batches, firsts = _meet(passes, _scaled(_SMALL + _LARGE, scale))
        later: list[list[float]] = [[] for _ in batches]
        updates: list[float] = []
        while len(updates) < _ROUNDS and (not updates or time.monotonic() - started < _ENOUGH_SECONDS):
            for batch, times in zip(batches, later, strict=True):
                times.append(passes.seconds(batch))
            updates.append(passes.update_seconds())
    timings = [
        Timing(batch.canvas.numel() // batch.canvas.shape[1], first, tuple(times))
        for batch, first, times in zip(batches, firsts, later, strict=True)
    ]
    return fit_cost(timings, seconds_per_step=sorted(updates)[len(updates) // 2])


def _scaled(canvases: Sequence[Canvas], scale: int) -> list[Canvas]:
    return [(count, height * scale, width * scale) for count, height, width in canvases]


def _warm_up(passes: _Passes, scale: int) -> None:
    """Start threads, libraries and the state of the optimiser, on a canvas of its own."""
    for _ in range(3):
        passes.seconds(passes.batch((2, 53 * scale, 57 * scale)))
        passes.update_seconds()


def _meet(passes: _Passes, canvases: Sequence[Canvas]) -> tuple[list[RaggedBatch], list[float]]:
    """The first pass on each canvas, from small to large, as long as they take little time and fit into memory."""
    batches: list[RaggedBatch] = []
    firsts: list[float] = []
    started = time.monotonic()
    for count, height, width in canvases:
        enough = len(batches) >= len(_SMALL) + 1
        late = time.monotonic() - started > _ENOUGH_SECONDS / 4
        if enough and (late or count * height * width > _MOST_PIXELS):
            break
        try:
            batch = passes.batch((count, height, width))
            first = passes.seconds(batch)
        except torch.OutOfMemoryError:
            if not enough:
                raise
            break
        batches.append(batch)
        firsts.append(first)
        if enough and first > _LARGEST_PASS_SECONDS:
            break
    return batches, firsts
