"""Samples at native size: the pixels of one image at a time, of exactly the size that was promised."""

from pathlib import Path
from shlex import quote
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anysize.data.augment import Augmentation, apply_geometry, draw_geometry, jitter_color
from anysize.data.cache import default_cache_path
from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS, ByteSource, ImageReadError, read_image
from anysize.data.problems import printable
from anysize.data.table import ImageTable
from anysize.errors import DataError, UsageError

__all__ = ["ImageDataset"]


class ImageDataset:
    """The images of a table, decoded and augmented on demand; no pixels and no open file, so it can be
    pickled.

    Args:
        table: which images.
        channels: 1 (grey) or 3 (RGB), whatever the files hold.
        augmentation: what is varied in each epoch; None for nothing.
        max_side: images with a longer side above this are shrunk to it, keeping their aspect.
        smallest_side: augmentation makes no side smaller than this.
        max_image_pixels: height x width above which a file is refused rather than decoded.
        seed: of the augmentation.
    """

    def __init__(
        self,
        table: ImageTable,
        channels: Literal[1, 3],
        *,
        augmentation: Augmentation | None = None,
        max_side: int | None = None,
        smallest_side: int = 1,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        seed: int = 0,
    ) -> None:
        if channels not in (1, 3):
            raise UsageError(
                f"channels is {channels}; images are read with 1 (grey) or 3 (RGB)",
                hint="channels=3 reads any image",
            )
        self.table = table
        self.channels: Literal[1, 3] = channels
        self.augmentation = augmentation
        self.max_side = max_side
        self.smallest_side = smallest_side
        self.max_image_pixels = max_image_pixels
        self.seed = seed
        self.sizes()  # wrong limits are an error now, not in a worker process

    def __len__(self) -> int:
        return len(self.table)

    def path(self, index: int) -> Path:
        """The file of image ``index``; of an image in a shard its name, ``SHARD.tar/KEY.jpg``, which is no file."""
        return self.table.root / self.table.paths[index]

    def label(self, index: int) -> int:
        """The class of image ``index``.

        Raises:
            UsageError: the images have no labels.
        """
        if self.table.labels is None:
            raise UsageError(
                f"the images of {self.table.root} have no labels",
                hint="sort them into a folder for each class",
            )
        return int(self.table.labels[index])

    def sizes(self, epoch: int = 0) -> NDArray[np.int64]:
        """(N, 2) height and width: exactly the sizes that `load` gives in this epoch. No file is touched."""
        return draw_geometry(
            self.table.sizes,
            np.arange(len(self)),
            self.augmentation,
            seed=self.seed,
            epoch=epoch,
            max_side=self.max_side,
            smallest_side=self.smallest_side,
        ).sizes

    def load(self, index: int, epoch: int = 0) -> NDArray[np.uint8]:
        """Decode image ``index`` and augment it as this epoch has it.

        Returns:
            uint8 (H, W, C), C-contiguous, of the size that ``sizes(epoch)[index]`` says.

        Raises:
            DataError: the file cannot be decoded, or its size is not the one of the scan.
        """
        image = self._native(index)
        geometry = draw_geometry(
            self.table.sizes[index],
            [index],
            self.augmentation,
            seed=self.seed,
            epoch=epoch,
            max_side=self.max_side,
            smallest_side=self.smallest_side,
        )
        image = apply_geometry(image, geometry.row(0))
        if self.augmentation is None:
            return image
        return jitter_color(image, self.augmentation.color_jitter, seed=self.seed, epoch=epoch, index=index)

    def _native(self, index: int) -> NDArray[np.uint8]:
        source = self.table.image(index)
        try:
            image = read_image(source, self.channels, max_image_pixels=self.max_image_pixels)
        except ImageReadError as error:
            raise DataError(
                f"image {self._shown(source)} could be opened by the scan, and cannot be read now: {error.reason}",
                hint="restore the file, or start again: the folder is then scanned anew",
            ) from error
        height, width = self.table.sizes[index].tolist()
        if image.shape[:2] != (height, width):
            raise DataError(
                f"image {self._shown(source)} is {image.shape[0]}x{image.shape[1]} (height x width); it was "
                f"{height}x{width} when the folder was scanned, and the plan rests on that",
                hint="do not change images during a run; start again: the folder is then scanned anew; if this comes "
                "back, the file was changed without its time of modification: " + self._how_to_forget(index),
            )
        return image

    def _how_to_forget(self, index: int) -> str:
        """What makes the next scan read the image although its size in bytes and its time are those of before."""
        members = self.table.members
        file = self.path(index) if members is None else members[index].shard
        known = default_cache_path() if members is None else members.side_index.path
        touch = f"touch {quote(printable(str(file)))}"
        return touch if known is None else f"{touch}, or delete {printable(str(known))}"

    def _shown(self, source: Path | ByteSource) -> str:
        return printable(str(source if isinstance(source, Path) else self.table.root / str(source)))
