"""Samples at native size: the pixels of one image at a time, of exactly the size that was promised."""

from pathlib import Path
from shlex import quote
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anysize.data.augment import (
    Augmentation,
    Geometry,
    apply_geometry,
    apply_to_mask,
    draw_geometry,
    jitter_color,
    largest_sizes,
)
from anysize.data.cache import default_cache_path
from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS, ByteSource, ImageReadError, read_image
from anysize.data.masks import MaskCoding, read_mask
from anysize.data.problems import printable
from anysize.data.sampling import require_share, sampled_mask
from anysize.data.table import ImageTable
from anysize.errors import DataError, UsageError
from anysize.sizes.start_size import StartSize

__all__ = ["ImageDataset"]


class ImageDataset:
    """The images of a table and their masks, decoded and augmented on demand; no pixels and no open file, so it can
    be pickled.

    Args:
        table: which images.
        channels: 1 (grey) or 3 (RGB), whatever the files hold.
        coding: what the values of mask files mean; None where masks are not wanted.
        augmentation: what is varied in each epoch; None for nothing.
        max_side: images with a longer side above this are shrunk to it, keeping their aspect.
        start: a smaller limit than that in the first epochs; None for the same sizes in all.
        smallest_side: augmentation makes no side smaller than this.
        sample_share: of the target pixels that count, the share that still does, drawn anew in each epoch: the others
            become `IGNORED` (Shelhamer, Long and Darrell 2017, section 4.4: a loss sampled within whole images).
        max_image_pixels: height x width above which a file is refused rather than decoded.
        seed: of the augmentation and the sampling.
    """

    def __init__(
        self,
        table: ImageTable,
        channels: Literal[1, 3],
        *,
        coding: MaskCoding | None = None,
        augmentation: Augmentation | None = None,
        max_side: int | None = None,
        start: StartSize | None = None,
        smallest_side: int = 1,
        sample_share: float = 1.0,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        seed: int = 0,
    ) -> None:
        if channels not in (1, 3):
            raise UsageError(
                f"channels is {channels}; images are read with 1 (grey) or 3 (RGB)",
                hint="channels=3 reads any image",
            )
        require_share(sample_share)
        self.table = table
        self.channels: Literal[1, 3] = channels
        self.coding = coding
        self.augmentation = augmentation
        self.max_side = max_side
        self.start = start
        self.smallest_side = smallest_side
        self.sample_share = sample_share
        self.max_image_pixels = max_image_pixels
        self.seed = seed
        self.sizes()  # wrong limits are an error now, not in a worker process

    def __len__(self) -> int:
        return len(self.table)

    @property
    def has_labels(self) -> bool:
        """Whether each image has a class."""
        return self.table.labels is not None

    @property
    def has_masks(self) -> bool:
        """Whether each image has a mask, and it is known what its values mean."""
        return self.table.masks is not None and self.coding is not None

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
        return self._geometry(self.table.sizes, np.arange(len(self)), epoch).sizes

    def largest_sizes(self) -> NDArray[np.int64]:
        """(N, 2) height and width that no epoch exceeds."""
        return largest_sizes(
            self.table.sizes, self.augmentation, max_side=self.max_side, smallest_side=self.smallest_side
        )

    def load(self, index: int, epoch: int = 0) -> NDArray[np.uint8]:
        """Decode image ``index`` and augment it as this epoch has it.

        Returns:
            uint8 (H, W, C), C-contiguous, of the size that ``sizes(epoch)[index]`` says.

        Raises:
            DataError: the file cannot be decoded, or its size is not the one of the scan.
        """
        image = self.native_image(index)
        image = apply_geometry(image, self._geometry(self.table.sizes[index], [index], epoch).row(0))
        if self.augmentation is None:
            return image
        strength, hue = self.augmentation.color_jitter, self.augmentation.hue
        return jitter_color(image, strength, seed=self.seed, epoch=epoch, index=index, hue=hue)

    def load_mask(self, index: int, epoch: int = 0, *, native: bool = False) -> NDArray[np.uint8]:
        """Decode the mask of image ``index``, in the geometry that its image has in this epoch.

        Args:
            index: of the image.
            epoch: 0, 1, ...
            native: give every pixel of the mask's file instead, at its own size: what predictions are measured against.

        Returns:
            uint8 (H, W), C-contiguous: classes 0 .. K-1 and `IGNORED`; of the size that ``sizes(epoch)[index]`` says.

        Raises:
            DataError: the file cannot be read, or its size is not that of its image.
            UsageError: the images have no masks.
        """
        mask = self.native_mask(index)
        if native:
            return mask
        mask = apply_to_mask(mask, self._geometry(self.table.sizes[index], [index], epoch).row(0))
        return sampled_mask(mask, self.sample_share, seed=self.seed, epoch=epoch, index=index)

    def load_pair(self, index: int, epoch: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """`load` and `load_mask`: an image and its mask, of one size."""
        return self.load(index, epoch), self.load_mask(index, epoch)

    def native_image(self, index: int) -> NDArray[np.uint8]:
        """Decode image ``index`` as its file has it: uint8 (H, W, C).

        Raises:
            DataError: as of `load`.
        """
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

    def native_mask(self, index: int) -> NDArray[np.uint8]:
        """Decode the mask of image ``index`` as its file has it: uint8 (H, W).

        Raises:
            DataError, UsageError: as of `load_mask`.
        """
        if self.table.masks is None or self.coding is None:
            missing = "no label masks" if self.table.masks is None else "label masks, but no coding of their values"
            raise UsageError(
                f"the images of {self.table.root} came with {missing}",
                hint="load them with the options of masks, and hand on the source's coding",
            )
        path = self.table.root / self.table.masks[index]
        try:
            mask = read_mask(path, self.coding, max_image_pixels=self.max_image_pixels)
        except ImageReadError as error:
            raise DataError(
                f"mask {printable(str(path))} of image {self._shown(self.table.image(index))} cannot be read: "
                f"{error.reason}",
                hint="restore the file, or leave out the image",
            ) from error
        height, width = self.table.sizes[index].tolist()
        if mask.shape != (height, width):
            raise DataError(
                f"mask {printable(str(path))} is {mask.shape[0]}x{mask.shape[1]} (height x width), and its image "
                f"{self._shown(self.table.image(index))} {height}x{width}: one size is required",
                hint=_how_to_fit(mask.shape, (height, width)),
            )
        return mask

    def _geometry(self, sizes: NDArray[np.int64], indices: NDArray[np.int64] | list[int], epoch: int) -> Geometry:
        return draw_geometry(
            sizes,
            indices,
            self.augmentation,
            seed=self.seed,
            epoch=epoch,
            max_side=self.max_side if self.start is None else self.start.max_side(epoch, self.max_side),
            smallest_side=self.smallest_side,
        )

    def _how_to_forget(self, index: int) -> str:
        """What makes the next scan read the image although its size in bytes and its time are those of before."""
        members = self.table.members
        file = self.path(index) if members is None else members[index].shard
        known = default_cache_path() if members is None else members.side_index.path
        touch = f"touch {quote(printable(str(file)))}"
        return touch if known is None else f"{touch}, or delete {printable(str(known))}"

    def _shown(self, source: Path | ByteSource) -> str:
        return printable(str(source if isinstance(source, Path) else self.table.root / str(source)))


def _how_to_fit(mask: tuple[int, ...], image: tuple[int, int]) -> str:
    if mask == image[::-1]:
        return (
            "height and width are exchanged: the mask was transposed (np.transpose undoes it) or turned by a quarter "
            "(np.rot90), or the image has an EXIF orientation that whoever drew the mask did not see; no size shows "
            "which, so look at the two"
        )
    if mask[0] * image[1] == mask[1] * image[0]:
        return f"resize the mask to {image[0]}x{image[1]} by nearest neighbour: any other way makes new labels"
    return "their aspects differ too: check that the two belong together"
