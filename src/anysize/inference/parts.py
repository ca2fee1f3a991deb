"""Answers for batches, a part at a time where memory does not suffice for the whole."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anysize.errors import ImageSizeError
from anysize.loading import RawBatch
from anysize.memory import attempt, free_memory

__all__ = ["Parts"]


@dataclass
class Parts:
    """How many canvas pixels are answered at once: as the plan has them, and less once memory has run out."""

    name_of: Callable[[int], str] = str
    """File name of an image, for errors."""
    report: Callable[[str], None] | None = None
    """Called with a line each time the limit is halved."""
    max_pixels: int | None = None
    """None until memory runs out; kept for all that follows."""

    def answers(
        self, answer: Callable[[RawBatch], Tensor], batches: Iterable[RawBatch], device: torch.device
    ) -> Iterator[tuple[RawBatch, Tensor]]:
        """Give each batch with its answer; one that memory runs out on comes in parts, and so do those after it.

        Args:
            answer: runs the network; an image's answer does not depend on the others.
            batches: in their order.
            device: where the network is.

        Raises:
            ImageSizeError: a single image does not fit.
        """
        for whole in batches:
            waiting = deque([whole] if self.max_pixels is None else whole.split(self.max_pixels))
            while waiting:
                raw = waiting.popleft()
                result, said = attempt(lambda raw=raw: answer(raw))  # type: ignore[misc]
                if result is not None:
                    yield raw, result
                    continue
                free_memory(device)
                limit = self.max_pixels = self._halved(raw, device, said)
                waiting = deque(piece for batch in (raw, *waiting) for piece in batch.split(limit))

    def _halved(self, raw: RawBatch, device: torch.device, said: str) -> int:
        if len(raw.indices) == 1:
            height, width = raw.sizes[0]
            raise ImageSizeError(
                f"{self.name_of(raw.indices[0])} is {height}x{width} (height x width) and does not fit by itself into "
                f"the memory of {device}{said}",
                hint="leave it out, resize it, or use a device with more memory (--device)",
            )
        limit = max(raw.num_canvas // 2, 1)
        if self.report is not None:
            self.report(
                f"out of memory on {device}: {len(raw.indices)} images on {raw.num_canvas:,} pixels of canvas did not "
                f"fit at once; at most {limit:,} pixels go together from here on, with the same answers. "
                f"--max-pixels {limit} does so from the start"
            )
        return limit
