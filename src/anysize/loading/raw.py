"""What travels from a worker process: bytes on a canvas, and how they become a ragged batch of floats."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anysize.data.masks import IGNORED
from anysize.errors import UsageError
from anysize.ragged import Padding, RaggedBatch
from anysize.sizes import format_size

__all__ = ["Normalisation", "RawBatch"]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Images as they were decoded: a quarter of the memory of float32."""

    canvas: Tensor
    """uint8 (N, C, H, W) in channels_last memory, each image in the top-left corner."""
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of each image."""
    targets: Tensor | None
    """int64 (N,) class indices; or uint8 masks (N, H, W) on the canvas, `IGNORED` around each image; or None."""
    indices: tuple[int, ...]
    """The place of each image in its table."""

    @classmethod
    def from_arrays(
        cls,
        images: Sequence[NDArray[np.uint8]],
        canvas: tuple[int, int],
        targets: Sequence[int] | Sequence[NDArray[np.uint8]] | None,
        indices: Sequence[int],
    ) -> "RawBatch":
        """Lay uint8 images (H, W, C) on a canvas (height, width).

        Args:
            images: N of them.
            canvas: at least as high and wide as each image.
            targets: the class of each image, or its mask uint8 (H, W); None for neither.
            indices: the place of each image in its table.

        Raises:
            UsageError: a mask of another size than its image.
        """
        pixels = np.zeros((len(images), *canvas, images[0].shape[2]), dtype=np.uint8)
        for place, image in zip(pixels, images, strict=True):
            place[: image.shape[0], : image.shape[1]] = image
        return cls(
            canvas=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            sizes=tuple((image.shape[0], image.shape[1]) for image in images),
            targets=_laid_targets(images, canvas, targets, indices),
            indices=tuple(indices),
        )

    @property
    def num_real(self) -> int:
        """The number of real pixels."""
        return sum(height * width for height, width in self.sizes)

    @property
    def num_canvas(self) -> int:
        """The canvas area times the number of images."""
        return self.canvas.shape[0] * self.canvas.shape[2] * self.canvas.shape[3]

    def split(self, max_pixels: int) -> tuple["RawBatch", ...]:
        """Divide the batch, in its order, into batches of at most ``max_pixels`` canvas pixels; one image is the least.

        Each gets a canvas as large as its own images; a batch within the limit stays as it is.
        """
        if self.num_canvas <= max_pixels or len(self.sizes) == 1:
            return (self,)
        parts = []
        start, height, width = 0, 0, 0
        for place, size in enumerate(self.sizes):
            height, width = max(height, size[0]), max(width, size[1])
            if place > start and height * width * (place + 1 - start) > max_pixels:
                parts.append(self._part(start, place))
                start, (height, width) = place, size
        return (*parts, self._part(start, len(self.sizes)))

    def _part(self, start: int, end: int) -> "RawBatch":
        sizes = self.sizes[start:end]
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        targets = None if self.targets is None else self.targets[start:end]
        if targets is not None and targets.dim() == 3:
            targets = targets[:, :height, :width]
        return RawBatch(self.canvas[start:end, :, :height, :width], sizes, targets, self.indices[start:end])

    def pin_memory(self) -> "RawBatch":
        """Return the batch in page-locked memory; DataLoader calls this for ``pin_memory=True``."""
        targets = None if self.targets is None else self.targets.pin_memory()
        return RawBatch(self.canvas.pin_memory(), self.sizes, targets, self.indices)

    def labels(self, device: torch.device) -> Tensor | RaggedBatch:
        """Return the targets as losses take them: int64 (N,), or a ragged batch of int64 maps (N, *spatial).

        Around each mask lies `IGNORED`, so that the canvas itself can be counted; nothing relies on it.

        Raises:
            UsageError: the batch has no targets.
        """
        if self.targets is None:
            raise UsageError(
                f"a batch of {len(self.sizes)} images has no targets; a class for each image, or masks, are needed",
                hint="load labelled data: a folder for each class, or images with masks",
            )
        targets = self.targets.to(device, non_blocking=True)  # as bytes: an eighth of what int64 would move
        if targets.dim() == 1:
            return targets
        return RaggedBatch.from_label_canvas(targets.to(torch.int64), self.sizes, padding=Padding.FINITE)


def _laid_targets(
    images: Sequence[NDArray[np.uint8]],
    canvas: tuple[int, int],
    targets: Sequence[int] | Sequence[NDArray[np.uint8]] | None,
    indices: Sequence[int],
) -> Tensor | None:
    if targets is None:
        return None
    masks = [target for target in targets if isinstance(target, np.ndarray)]
    if not masks:
        return torch.tensor(targets, dtype=torch.int64)
    labels = np.full((len(masks), *canvas), IGNORED, dtype=np.uint8)
    for index, place, image, mask in zip(indices, labels, images, masks, strict=True):
        if mask.shape != image.shape[:2]:
            raise UsageError(
                f"the mask of image {index} is {format_size(mask.shape)} (height x width), and the image "
                f"{format_size(image.shape[:2])}: one size is required",
                hint="ImageDataset.load_pair gives both in one geometry",
            )
        place[: mask.shape[0], : mask.shape[1]] = mask
    return torch.from_numpy(labels)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per channel: ``(pixel - mean) / std``, with pixels, mean and std in 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, raw: RawBatch, device: torch.device, *, channels_last: bool = True) -> RaggedBatch:
        """Turn bytes into a ragged batch of float32 on ``device``, its padding zero *after* normalisation."""
        pixels = raw.canvas.to(device, non_blocking=True)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        canvas = pixels.to(torch.float32, memory_format=layout)
        shape = (1, -1, 1, 1)
        canvas.sub_(canvas.new_tensor(self.mean).reshape(shape)).div_(canvas.new_tensor(self.std).reshape(shape))
        batch = RaggedBatch(canvas, raw.sizes, padding=Padding.FINITE)
        batch.zeroed()
        return batch
