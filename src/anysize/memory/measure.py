"""What a pass through a network costs in memory, measured on passes of growing size."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anysize.losses import cross_entropy
from anysize.memory.available import available_bytes
from anysize.memory.peaks import peak_rise
from anysize.models import fixed_side, has_batch_statistics, smallest_side
from anysize.ragged import Padding, RaggedBatch, RaggedGroup, together

__all__ = ["MAX_ELEMENTS", "MemoryUse", "Rehearsal", "fit_line", "measure_memory", "most_elements"]

MAX_ELEMENTS = 2**31 - 1
"""Kernels count the elements of a tensor in 32 bits; above this many, some fail and some are silently wrong."""

_FIRST_SIDE, _LAST_SIDE = 256, 4096
_ENOUGH_BYTES = {"cpu": 192 << 20, "cuda": 1 << 30}  # a rise that drowns buffers that come and go with the shapes
_ENOUGH_SECONDS = 5.0

Canvas = tuple[int, int, int]
"""Images, height, width."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What one pass of a network takes: ``bytes_fixed + bytes_per_pixel * pixels``, at its highest."""

    bytes_fixed: int
    """Whatever the images: gradients, the optimiser's state, buffers of kernels."""
    bytes_per_pixel: float
    """A pixel of the canvases, padding included."""
    elements_per_pixel: float
    """Of the largest tensor of the pass, a pixel of its canvas."""

    def bytes_for(self, pixels: int) -> int:
        """Bytes that a pass over so many canvas pixels takes."""
        return round(self.bytes_fixed + self.bytes_per_pixel * pixels)

    @property
    def largest_canvas_pixels(self) -> int:
        """Canvas pixels (area times images) above which a tensor would reach 2^31 elements."""
        return int(MAX_ELEMENTS // max(self.elements_per_pixel, 1.0))


def most_elements(model: nn.Module, in_channels: int) -> float:
    """Return the elements of the largest tensor of a forward pass, a pixel of its canvas: shapes, no arithmetic."""
    probe = copy.deepcopy(model).to("meta").eval()

    def on(side: int) -> float:
        with torch.no_grad(), _Largest({parameter.numel() for parameter in probe.parameters()}) as largest:
            probe(torch.empty(1, in_channels, side, side, device="meta"))
        return float(largest.elements) / (side * side)

    try:
        return on(fixed_side(model) or _FIRST_SIDE)
    except RuntimeError:  # too small for this network
        return on(smallest_side(model, in_channels))


class Rehearsal:
    """Passes through a copy of a network, just as training or evaluation runs them; the network stays as it is.

    Args:
        model: on its device, in any mode.
        in_channels: of the images.
        training: forward, backward and the optimiser's step; else a forward alone, in evaluation mode.
        optimizer: of ``model``; its state counts. None for plain gradients.
        channels_last: memory format of the images.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        in_channels: int,
        training: bool,
        optimizer: torch.optim.Optimizer | None = None,
        channels_last: bool = True,
    ) -> None:
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        # Together, so that the copied optimiser has the copied parameters.
        self._model, self._optimizer = copy.deepcopy((model, optimizer if training else None))
        self._model.train(training)
        self._in_channels, self._training, self._channels_last = in_channels, training, channels_last
        self.grouped = training and has_batch_statistics(self._model)
        """Whether the canvases of a step go through the network together."""
        self._fixed_side = fixed_side(model)

    def __call__(self, canvases: Sequence[Canvas]) -> None:
        """Run one pass over canvases: alone if there is one, else as a group."""
        # What is drawn here must not change what training draws later.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            parts = [self._batch(*canvas) for canvas in canvases]
            images = together(parts)
            del parts
            if not self._training:
                with torch.inference_mode():
                    _answers(self._model(images))
                return
            try:
                _loss(self._model(images)).backward()  # type: ignore[no-untyped-call]
                gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
                torch._foreach_div_(gradients, 2.0)
                float(torch.nn.utils.get_total_norm(gradients))
                if self._optimizer is not None:
                    self._optimizer.step()
            finally:
                self._model.zero_grad(set_to_none=True)

    def layouts(self, side: int) -> list[list[Canvas]]:
        """The ways in which a pass of ``side * side`` pixels may come: one canvas, or where it may be, a group of two.

        Either may take more: a group's operators work canvas by canvas, so their buffers are smaller, but it is
        normalised in more of them. A network that takes one size gets more images of it.
        """
        if self._fixed_side is not None:
            return [[(-(-(side**2) // self._fixed_side**2), self._fixed_side, self._fixed_side)]]
        group = [(1, side // 2, side), (2, side // 2, side // 2)]
        return [[(1, side, side)], group] if self.grouped else [[(1, side, side)]]

    def state_bytes(self) -> int:
        """Bytes of the optimiser's state, which is there after the first pass."""
        state = {} if self._optimizer is None else self._optimizer.state
        tensors = (value for values in state.values() for value in values.values() if isinstance(value, Tensor))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def gradient_bytes(self) -> int:
        """Bytes of the gradients, which are there from the first pass of a step on, while the next ones run."""
        trained = (p for p in self._model.parameters() if self._training and p.requires_grad)
        return sum(parameter.numel() * parameter.element_size() for parameter in trained)

    def elements_per_pixel(self, canvases: Sequence[Canvas]) -> float:
        """Run one pass; return the elements of its largest tensor as a multiple of the smallest canvas' pixels."""
        with _Largest({parameter.numel() for parameter in self._model.parameters()}) as largest:
            self(canvases)
        return float(largest.elements) / min(count * height * width for count, height, width in canvases)

    def _batch(self, count: int, height: int, width: int) -> RaggedBatch:
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        canvas = torch.rand(count, self._in_channels, height, width, device=self.device).to(memory_format=layout)
        # Smaller than the canvas, each in its own way: images that fill it are ordinary tensors, which take less.
        if self._fixed_side is not None:
            return RaggedBatch(canvas, [(height, width)] * count, padding=Padding.FINITE)
        sizes = [(max(height - 1 - number % 3, 1), max(width - 2 - number % 5, 1)) for number in range(count)]
        return RaggedBatch(canvas, sizes, padding=Padding.FINITE)


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every tensor that is made, in the backward pass too, and keeps the largest number of elements."""

    def __init__(self, ignored: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0
        self._ignored = ignored  # of parameters and their gradients, which do not grow with the images

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.numel() > self.elements and leaf.numel() not in self._ignored:
                self.elements = leaf.numel()
        return result


def measure_memory(
    model: nn.Module,
    *,
    in_channels: int,
    training: bool,
    optimizer: torch.optim.Optimizer | None = None,
    channels_last: bool = True,
) -> MemoryUse:
    """Measure what a pass takes, on images of 256x256 and more; seconds, most of them for kernels of new shapes.

    Args:
        model: on the device to measure. A copy of it runs, and is gone afterwards.
        in_channels: of the images.
        training: a whole step is measured, as training runs it (a network with batch statistics takes the canvases of
            a step together); else a forward pass in evaluation mode.
        optimizer: of ``model``; its state is counted.
        channels_last: memory format of the images.

    Raises:
        RuntimeError: not even an image of 256x256 goes through.
    """
    rehearsal = Rehearsal(
        model, in_channels=in_channels, training=training, optimizer=optimizer, channels_last=channels_last
    )
    device = rehearsal.device
    enough, most = _ENOUGH_BYTES.get(device.type, _ENOUGH_BYTES["cpu"]), available_bytes(device) // 4
    started = time.monotonic()
    side = max(_FIRST_SIDE, 4 * smallest_side(model, in_channels))
    elements = max(rehearsal.elements_per_pixel(canvases) for canvases in rehearsal.layouts(side))
    points: list[tuple[int, int]] = []
    while True:
        rise = 0
        for canvases in rehearsal.layouts(side):
            rise = max(rise, peak_rise(lambda canvases=canvases: rehearsal(canvases), device))  # type: ignore[misc]
        points.append((side * side, rise))
        late = time.monotonic() - started > _ENOUGH_SECONDS
        done = len(points) >= 3 and (rise >= enough or late)
        if done or side >= _LAST_SIDE or (len(points) >= 2 and 4 * rise > most):
            break
        side *= 2
    fixed, per_pixel = fit_line(points)
    return MemoryUse(round(fixed) + rehearsal.state_bytes() + rehearsal.gradient_bytes(), per_pixel, elements)


def fit_line(points: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Lay a line over measured (pixels, bytes), none of which is above it: (bytes at zero pixels, bytes a pixel).

    Its slope is the steeper of those to the largest pass from the one and the two before: buffers that come with new
    shapes weigh on small passes, and the allocator's gaps on any.

    >>> fit_line([(100, 1100), (400, 1400), (1600, 2600)])
    (1000.0, 1.0)
    >>> fit_line([(100, 200), (400, 650), (1600, 3050)])
    (0.0, 2.0)
    """
    pixels, num_bytes = points[-1]
    before = [point for point in points[-3:-1] if point[0] < pixels]
    slope = max([(num_bytes - other) / (pixels - few) for few, other in before] or [num_bytes / pixels])
    slope = max(slope, 0.0)
    return max(max(other - slope * few for few, other in points), 0.0), slope


def _loss(output: Any) -> Tensor:
    """Some loss over all that a network returns: logits of images or of pixels, several of them in a tuple or dict."""
    total = torch.zeros(())
    values = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else [output]
    for value in values:
        if isinstance(value, RaggedBatch | RaggedGroup):
            total = total.to(value.device) + cross_entropy(value, _no_labels(value)).total
        elif value.dim() >= 2:
            targets = value.new_zeros((len(value), *value.shape[2:]), dtype=torch.int64)
            total = total.to(value.device) + cross_entropy(value, targets).total
    return total


def _no_labels(maps: RaggedBatch | RaggedGroup) -> Any:
    if isinstance(maps, RaggedGroup):
        return RaggedGroup([_no_labels(part) for part in maps.parts])
    masks = [torch.zeros(size, dtype=torch.int64, device=maps.device) for size in maps.sizes]
    return RaggedBatch.from_labels(masks, maps.canvas.shape[2:])


def _answers(output: Any) -> None:
    """What evaluation makes of logits: probabilities."""
    if isinstance(output, Tensor) and output.dim() >= 2:
        functional.softmax(output.float(), dim=1)
