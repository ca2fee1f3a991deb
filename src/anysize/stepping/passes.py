"""How the micro-batches of a step go through the network: how many at once, and what to do when that is too much."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from anysize.errors import ImageSizeError
from anysize.loading import RawBatch
from anysize.memory import enable_checkpointing, is_checkpointed

__all__ = ["Passes"]


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
    has_updated: bool = field(default=False, init=False)
    """Whether a step has come as far as its update."""
    _queue: deque[RawBatch] = field(default_factory=deque, init=False, repr=False)
    _step_pixels: int = field(default=0, init=False, repr=False)
    """The limit of the step that runs."""
    _may_repeat: bool = field(default=True, init=False, repr=False)
    """Whether the step that runs may still be done again as it was."""
    _was_halved: bool = field(default=False, init=False, repr=False)
    """Whether the step that runs, or one before it, was divided because of a small pass."""
    _suspicious: bool = field(default=False, init=False, repr=False)
    """The same of the steps before."""
    _proven: int = field(default=0, init=False, repr=False)
    """Canvas pixels of the largest pass that went through."""

    def begin(self) -> None:
        """A new step begins."""
        self._step_pixels, self._may_repeat, self._suspicious = self.max_pixels, True, self._was_halved

    def divide(self, batches: Iterable[RawBatch]) -> Iterator[list[RawBatch]]:
        """Give what goes through the network at once, in the order of ``batches``."""
        self._queue.clear()
        source = iter(batches)
        while group := self._next(source):
            yield group
            self._proven = max(self._proven, _pixels(group))  # whoever asks for the next one has done this one

    def _next(self, source: Iterator[RawBatch]) -> list[RawBatch]:
        group: list[RawBatch] = []
        limit = left = min(self._step_pixels or self.max_pixels, self.max_pixels)
        while self.together or not group:
            if not self._queue:
                self._queue.extend(piece for raw in _one(source) for piece in raw.split(limit))
            if not self._queue or (group and self._queue[0].num_canvas > left):
                break
            left -= self._queue[0].num_canvas
            group.append(self._queue.popleft())
        return group

    def shrink(self, group: list[RawBatch], model: nn.Module, device: torch.device, said: str = "") -> None:
        """Memory ran out on ``group``, and the step will be done again: make its passes smaller.

        A pass far below the limit that fails is more likely something else's fault, and one such must not slow down
        the rest of the run: first the step is done again as it was, then with passes half as large as the one that
        failed. The limit itself gives way to a pass above half of it, and to a second step of that kind, unless larger
        passes have gone through.

        Args:
            group: what went through the network at once.
            model: it went through.
            device: where that is.
            said: for the error, where the failure may have another reason.

        Raises:
            ImageSizeError: it is a single image, and nothing is left to try.
        """
        num_images, pixels = sum(len(raw.indices) for raw in group), _pixels(group)
        is_small = 2 * pixels < self.max_pixels
        met = f"out of memory on {device}: {num_images} images on {pixels:,} pixels of canvas did not fit at once"
        if is_small and self._may_repeat:
            self._may_repeat = False
            self._say(
                f"{met}, far fewer than the {self.max_pixels:,} that may go together; memory that was held for reuse "
                "is given back, and the step is done again"
            )
            return
        if num_images == 1:
            self._checkpoint(group[0], model, device, said)
            return
        self._step_pixels = max(pixels // 2, 1)
        if is_small and (not self._suspicious or pixels <= self._proven):
            self._was_halved = True
            self._say(f"{met}; the step is done again with at most {self._step_pixels:,} pixels at once")
            return
        self.max_pixels = self._step_pixels
        price = (
            "batch normalisation then takes its statistics over fewer images at a time"
            if self.together
            else "the update stays the same"
        )
        self._say(
            f"{met}; they are done again with at most {self.max_pixels:,} pixels at once, and so is all "
            f"that follows ({price}). --max-pixels {self.max_pixels} does so from the start"
        )

    def _checkpoint(self, raw: RawBatch, model: nn.Module, device: torch.device, said: str) -> None:
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
        raise ImageSizeError(f"{met}{tried}{said}", hint=", ".join(fixes) + ", or more memory")

    def _say(self, line: str) -> None:
        if self.report is not None:
            self.report(line)


def _pixels(group: list[RawBatch]) -> int:
    return sum(raw.num_canvas for raw in group)


def _one(source: Iterator[RawBatch]) -> Iterator[RawBatch]:
    """The next batch of ``source``, if there is one."""
    raw = next(source, None)
    if raw is not None:
        yield raw
