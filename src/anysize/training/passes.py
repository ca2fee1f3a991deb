"""How the micro-batches of a step go through the network: how many at once, and what to do when that is too much."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from anysize.errors import ImageSizeError
from anysize.loading import RawBatch
from anysize.memory import Undo, enable_checkpointing, free_memory, is_checkpointed

__all__ = ["Passes", "Pending"]


@dataclass
class Passes:
    """How many canvas pixels go through the network at once: as was asked, and less once memory has run out.

    A step's gradient is the sum over its passes, so dividing it otherwise changes nothing but what is taken over the
    images of a pass: the statistics of batch normalisation.
    """

    max_pixels: int
    """Canvas pixels of a pass."""
    together: bool = False
    """Whether micro-batches go through the network together up to that limit (batch statistics), or each alone."""
    may_checkpoint: bool = False
    """Whether activation checkpointing may be turned on for an image that does not fit by itself."""
    report: Callable[[str], None] | None = None
    """Called with a line whenever memory has run out and something has changed."""
    name_of: Callable[[int], str] = str
    """File name of an image, for errors."""
    _queue: deque[RawBatch] = field(default_factory=deque, init=False, repr=False)

    def divide(self, batches: Iterable[RawBatch]) -> Iterator[list[RawBatch]]:
        """Give what goes through the network at once, in the order of ``batches``; after `again`, what is left anew."""
        self._queue.clear()
        source = iter(batches)
        while group := self._next(source):
            yield group

    def _next(self, source: Iterator[RawBatch]) -> list[RawBatch]:
        group: list[RawBatch] = []
        left = self.max_pixels
        while self.together or not group:
            if not self._queue:
                self._queue.extend(piece for raw in _one(source) for piece in raw.split(self.max_pixels))
            if not self._queue or (group and self._queue[0].num_canvas > left):
                break
            left -= self._queue[0].num_canvas
            group.append(self._queue.popleft())
        return group

    def again(self, group: list[RawBatch], model: nn.Module, device: torch.device) -> None:
        """Memory ran out on ``group``: halve the limit, and put the group back to be divided anew.

        Raises:
            ImageSizeError: it is a single image, and nothing is left to try.
        """
        num_images = sum(len(raw.indices) for raw in group)
        pixels = sum(raw.num_canvas for raw in group)
        met = f"out of memory on {device}: {num_images} images on {pixels:,} pixels of canvas did not fit at once"
        if num_images == 1:
            self._checkpoint(group[0], model, device)
        else:
            self.max_pixels = max(pixels // 2, 1)
            price = (
                "batch normalisation then takes its statistics over fewer images at a time"
                if self.together
                else "the update stays the same"
            )
            self._say(
                f"{met}; they are done again with at most {self.max_pixels:,} pixels at once, and so is all "
                f"that follows ({price}). --max-pixels {self.max_pixels} does so from the start"
            )
        self._queue = deque(piece for raw in (*group, *self._queue) for piece in raw.split(self.max_pixels))

    def _checkpoint(self, raw: RawBatch, model: nn.Module, device: torch.device) -> None:
        (height, width), name = raw.sizes[0], self.name_of(raw.indices[0])
        met = f"{name} is {height}x{width} (height x width) and does not fit by itself into the memory of {device}"
        if self.may_checkpoint and not is_checkpointed(model) and enable_checkpointing(model):
            self._say(
                f"{met}; activation checkpointing is on from here: the same gradients, for about a third more time. "
                "--checkpointing on does so from the start"
            )
            return
        fixes = [f"--max-side {int(max(height, width) / 2**0.5)} (half the pixels)", "a smaller network"]
        if not is_checkpointed(model):
            fixes.insert(0, "--checkpointing on")
        tried = ", with activation checkpointing" if is_checkpointed(model) else ""
        raise ImageSizeError(f"{met}{tried}", hint=", ".join(fixes) + ", or more memory")

    def _say(self, line: str) -> None:
        if self.report is not None:
            self.report(line)


def _one(source: Iterator[RawBatch]) -> Iterator[RawBatch]:
    """The next batch of ``source``, if there is one."""
    raw = next(source, None)
    if raw is not None:
        yield raw


class Pending:
    """What a pass must not lose if it fails: the gradients of the passes before it, buffers, random numbers.

    Args:
        model: about to run.
        device: where it is.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._parameters = list(model.parameters())
        self._gradients: list[Tensor | None] = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None  # the pass gets its own: half of one that failed could not be taken out of a sum
        self._undo, self._device = Undo(model, device), device

    def add(self) -> None:
        """The pass is done: add its gradients to those before."""
        pairs = [(p, g) for p, g in zip(self._parameters, self._gradients, strict=True) if g is not None]
        both = [(p, g, p.grad) for p, g in pairs if p.grad is not None]
        if both:
            torch._foreach_add_([g for _, g, _ in both], [new for *_, new in both])
        for parameter, gradient in pairs:
            parameter.grad = gradient

    def undo(self) -> None:
        """The pass has failed: all is as it was before it, and what it held is free again."""
        self._undo()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        free_memory(self._device)
