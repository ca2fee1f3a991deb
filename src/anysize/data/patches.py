"""Patches: parts of images as samples of their own, each epoch with about as many pixels as the images have."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anysize.data.augment import (
    Augmentation,
    Geometry,
    GeometryRow,
    apply_geometry,
    apply_to_mask,
    draw_geometry,
    jitter_color,
    largest_sizes,
    shrunk_sizes,
)
from anysize.data.augment.rotation import rotated_map
from anysize.data.dataset import ImageDataset
from anysize.data.draws import uniform
from anysize.data.masks import IGNORED
from anysize.data.sampling import sampled_mask
from anysize.errors import UsageError

__all__ = ["PatchDataset", "grid_boxes"]

# Of the draws of `anysize.data.augment`; one of _PIXEL and one of _PLACE for each try.
_BY_CLASS, _CLASS, _PIXEL, _PLACE_Y, _PLACE_X = 200, 201, 210, 220, 230
_TRIES = 8
_CACHE_BYTES = 256 << 20


def grid_boxes(size: tuple[int, int], patch: int, overlap: int = 0) -> NDArray[np.int64]:
    """The boxes of a grid that covers every pixel of an image; the last ones are flush with its border.

    Args:
        size: height and width of the image.
        patch: side of a box in pixels; where the image is smaller, the box is as large as the image.
        overlap: pixels that neighbours share at least, along each axis.

    Returns:
        (M, 4) int64 top, left, height, width, row by row.

    Raises:
        UsageError: ``patch`` is below 1, or ``overlap`` not from 0 to ``patch`` - 1.
    """
    if patch < 1 or not 0 <= overlap < patch:
        raise UsageError(
            f"patches of side {patch} with an overlap of {overlap}; needed: a side of at least 1 and an overlap of 0 "
            "to side - 1",
            hint=f"overlap={max(patch, 1) // 2} is half of a patch" if patch >= 1 else "a side of 1 or more",
        )
    starts = []
    for length in size:
        last = max(length - patch, 0)
        num = -(-last // (patch - overlap)) + 1
        starts.append(np.minimum(np.arange(num, dtype=np.int64) * (patch - overlap), last))
    top, left = (grid.ravel() for grid in np.meshgrid(*starts, indexing="ij"))
    sides = np.minimum(np.asarray(size, np.int64), patch)
    return np.stack([top, left, np.full_like(top, sides[0]), np.full_like(top, sides[1])], axis=1)


@dataclass
class _Decoded:
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None
    classes: NDArray[np.int64] | None = None  # those present, once somebody asked

    @property
    def num_bytes(self) -> int:
        return self.image.nbytes + (0 if self.mask is None else self.mask.nbytes)


class PatchDataset:
    """Patches of at most N x N pixels of the images of a data set, and of their masks.

    An image of area A, shrunk to the longest side that the data set allows, gives max(1, round(A / N^2)) patches an
    epoch, so that an epoch has about as many pixels as one of whole images. Each is drawn by itself: its place, scale,
    angle, flips and colors are a pure function of (seed, epoch, its number), and its size is known beforehand. An image
    that is smaller than N gives what it has.

    ``by``:

    - ``"random"``: anywhere, uniformly.
    - ``"class"``: of the patches, ``class_share`` are laid around a pixel of a class: the class is drawn uniformly from
      those that the image's mask has, then the pixel from all of that class, then its place in the patch. The others
      are random. This is how nnU-Net (Isensee et al. 2021, supplementary note 2) sees rare classes, with a third.
      The rule that draws again while one class covers more than 75 % of a patch sees a rare class only as often as
      chance finds its border; this one gives each class of an image a share that does not depend on its area. The two
      thirds at random keep patches that hold nothing but background, which a network that has never seen them paints
      with objects.
    - ``"grid"``: the same grid over the whole image in every epoch, every pixel in one patch at least: more patches
      than the above where the image is no multiple of N or they overlap.

    The images that were decoded last are kept, in each process that loads, up to ``cache_bytes``: patches of one image
    come at any time of an epoch, and to decode the image for each of them anew would take most of the time.

    Args:
        dataset: the images. Its augmentation varies each patch; the patch takes the place of its crop.
        size: N.
        by: see above.
        overlap: of a grid: pixels that neighbours share at least.
        class_share: of ``by="class"``: probability that a patch is laid around a class.
        cache_bytes: of decoded pixels kept; the last image is kept whatever its size.

    Raises:
        UsageError: a value out of its range, or an augmentation that does not go with ``by``.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        size: int,
        by: Literal["random", "class", "grid"] = "random",
        overlap: int = 0,
        class_share: float = 1 / 3,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        _check(dataset, size, by, overlap, class_share)
        self.dataset = dataset
        self.size = size
        self.by = by
        self.overlap = overlap
        self.class_share = class_share
        self.cache_bytes = cache_bytes
        augmentation = Augmentation.none() if dataset.augmentation is None else dataset.augmentation
        self._boxes: NDArray[np.int64] | None = None
        shrunk = shrunk_sizes(dataset.table.sizes, dataset.max_side)
        if by == "grid":
            boxes = [grid_boxes((height, width), size, overlap) for height, width in shrunk.tolist()]
            counts = np.array([len(part) for part in boxes], np.int64)
            self._boxes = np.concatenate([np.zeros((0, 4), np.int64), *boxes])
            self.augmentation = augmentation.without_resampling()
        else:
            counts = np.maximum(np.rint(shrunk.prod(axis=1) / size**2).astype(np.int64), 1)
            self.augmentation = replace(augmentation, crop=1.0, crop_size=size)
        self._images = np.repeat(np.arange(len(dataset)), counts)
        self._cache: OrderedDict[int, _Decoded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._images)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    @property
    def has_labels(self) -> bool:
        """Whether each patch has a class: its image's."""
        return self.dataset.has_labels

    @property
    def has_masks(self) -> bool:
        """Whether each patch has a mask."""
        return self.dataset.has_masks

    def image_of(self, index: int) -> int:
        """The image of which patch ``index`` is a part."""
        return int(self._images[index])

    def path(self, index: int) -> Path:
        """The file of the image of patch ``index``."""
        return self.dataset.path(self.image_of(index))

    def label(self, index: int) -> int:
        """The class of the image of patch ``index``.

        Raises:
            UsageError: the images have no labels.
        """
        return self.dataset.label(self.image_of(index))

    def sizes(self, epoch: int = 0) -> NDArray[np.int64]:
        """(N, 2) height and width of each patch: exactly those that `load` gives in this epoch. No file is touched."""
        return self._geometry(np.arange(len(self)), epoch).sizes

    def largest_sizes(self) -> NDArray[np.int64]:
        """(N, 2) height and width that no epoch exceeds."""
        if self._boxes is not None:
            return self._boxes[:, 2:].copy()
        dataset = self.dataset
        largest = largest_sizes(
            dataset.table.sizes, self.augmentation, max_side=dataset.max_side, smallest_side=dataset.smallest_side
        )
        return largest[self._images]

    def load(self, index: int, epoch: int = 0) -> NDArray[np.uint8]:
        """The pixels of patch ``index``, uint8 (H, W, C), of the size that ``sizes(epoch)[index]`` says.

        Raises:
            DataError: a file cannot be decoded, or has changed since the scan.
        """
        decoded = self._decoded(self.image_of(index), mask=self.by == "class")
        return self._pixels(decoded, self._row(index, epoch, decoded), index, epoch)

    def load_mask(self, index: int, epoch: int = 0) -> NDArray[np.uint8]:
        """The mask of patch ``index``, uint8 (H, W).

        Raises:
            DataError: a file cannot be decoded, or its size is not that of its image.
            UsageError: the images have no masks.
        """
        return self.load_pair(index, epoch)[1]

    def load_pair(self, index: int, epoch: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Both of them, of one size. Raises as `load_mask`."""
        decoded = self._decoded(self.image_of(index), mask=True)
        row = self._row(index, epoch, decoded)
        assert decoded.mask is not None  # noqa: S101 - asked for above
        mask = _own(apply_to_mask(decoded.mask, row), decoded.mask)
        mask = sampled_mask(mask, self.dataset.sample_share, seed=self.dataset.seed, epoch=epoch, index=index)
        return self._pixels(decoded, row, index, epoch), mask

    def _pixels(self, decoded: _Decoded, row: GeometryRow, index: int, epoch: int) -> NDArray[np.uint8]:
        strength, hue = self.augmentation.color_jitter, self.augmentation.hue
        image = apply_geometry(decoded.image, row)
        image = jitter_color(image, strength, seed=self.dataset.seed, epoch=epoch, index=index, hue=hue)
        return _own(image, decoded.image)

    def _geometry(self, indices: NDArray[np.int64], epoch: int) -> Geometry:
        dataset = self.dataset
        geometry = draw_geometry(
            dataset.table.sizes[self._images[indices]],
            indices,
            self.augmentation,
            seed=dataset.seed,
            epoch=epoch,
            max_side=dataset.max_side,
            smallest_side=dataset.smallest_side,
        )
        if self._boxes is None:
            return geometry
        boxes = self._boxes[indices]
        return replace(geometry, corner=boxes[:, :2], sizes=boxes[:, 2:])

    def _row(self, index: int, epoch: int, decoded: _Decoded) -> GeometryRow:
        row = self._geometry(np.array([index]), epoch).row(0)
        seed = self.dataset.seed
        if self.by != "class" or decoded.mask is None or uniform(seed, epoch, index, _BY_CLASS) >= self.class_share:
            return row
        if decoded.classes is None:
            decoded.classes = np.flatnonzero(np.bincount(decoded.mask.ravel(), minlength=256)[:IGNORED])
        return _laid_around_a_class(row, decoded.mask, decoded.classes, (seed, epoch, index))

    def _decoded(self, image: int, *, mask: bool) -> _Decoded:
        known = self._cache.pop(image, None)
        if known is None:
            known = _Decoded(self.dataset.native_image(image), self.dataset.native_mask(image) if mask else None)
        elif mask and known.mask is None:
            known.mask = self.dataset.native_mask(image)
        self._cache[image] = known
        held = sum(entry.num_bytes for entry in self._cache.values())
        while held > self.cache_bytes and len(self._cache) > 1:
            held -= self._cache.popitem(last=False)[1].num_bytes
        return known


def _own(pixels: NDArray[np.uint8], kept: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels, in memory of their own: what is kept for the next patch may not change with them."""
    return pixels.copy() if np.may_share_memory(pixels, kept) else pixels


def _laid_around_a_class(
    row: GeometryRow, mask: NDArray[np.uint8], classes: NDArray[np.int64], place: tuple[int, int, int]
) -> GeometryRow:
    """The window moved to where it holds a pixel of a class that is drawn from those present."""
    if not len(classes):
        return row
    chosen = classes[int(uniform(*place, _CLASS) * len(classes))]
    pixels = np.flatnonzero(mask == chosen)
    for number in range(_TRIES):  # a pixel may lie in a corner that the rotation has cut off
        pixel = pixels[int(uniform(*place, _PIXEL + number) * len(pixels))]
        y, x = _place_in_whole(row, *divmod(int(pixel), mask.shape[1]))
        if 0 <= y < row.whole_height and 0 <= x < row.whole_width:
            above = int(uniform(*place, _PLACE_Y + number) * row.out_height)
            before = int(uniform(*place, _PLACE_X + number) * row.out_width)
            top = min(max(y - above, 0), row.whole_height - row.out_height)
            left = min(max(x - before, 0), row.whole_width - row.out_width)
            return row._replace(window_top=top, window_left=left)
    return row


def _place_in_whole(row: GeometryRow, y: int, x: int) -> tuple[int, int]:
    """Row and column, in the turned and resized image, of the pixel in which the center of a native one lies."""
    whole = (row.whole_height, row.whole_width)
    a, b, c, d, e, f = rotated_map((row.height, row.width), whole, (0, 0), row.angle, row.share)
    offset = np.array([x + 0.5 - row.left - c, y + 0.5 - row.top - f])
    column, line = np.linalg.solve(np.array([[a, b], [d, e]]), offset)
    return int(np.floor(line)), int(np.floor(column))


def _check(dataset: ImageDataset, size: int, by: str, overlap: int, class_share: float) -> None:
    grid_boxes((1, 1), size, overlap)
    if by not in ("random", "class", "grid"):
        raise UsageError(f"patches by {by!r}; they are drawn by random, class or grid", hint="by='random'")
    if overlap and by != "grid":
        raise UsageError(f"patches by {by} have no overlap to set; it is {overlap}", hint="by='grid' has, or overlap=0")
    if size < dataset.smallest_side:
        raise UsageError(
            f"patches of {size} pixels a side; the network needs {dataset.smallest_side} at least",
            hint=f"a patch size of {dataset.smallest_side} or more",
        )
    if not 0 <= class_share <= 1:
        raise UsageError(f"class_share is {class_share}; it must be 0 to 1", hint="0.33 lays a third around classes")
    if by == "class" and not dataset.has_masks:
        raise UsageError(
            f"patches by class need masks, and the images of {dataset.table.root} have none", hint="by='random'"
        )
    augmentation = dataset.augmentation
    if augmentation is not None and augmentation.crop_size is not None:
        raise UsageError(
            f"crop_size is {augmentation.crop_size}, and patches of {size} pixels are windows already",
            hint="crop_size=None",
        )
    if augmentation is not None and by == "grid" and augmentation.resamples:
        raise UsageError(
            "a grid of patches covers each image at its own scale; the augmentation varies scale, aspect or angle",
            hint="scale=(1.0, 1.0), aspect=(1.0, 1.0) and rotate=0, or by='random'",
        )
