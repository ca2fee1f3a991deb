"""Augmentation at native size whose geometry is a pure function: the planner knows every size beforehand."""

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from anysize.data.draws import uniform
from anysize.errors import UsageError

__all__ = ["Augmentation", "Geometry", "GeometryRow", "apply_geometry", "draw_geometry", "jitter_color"]

# One number for each use, so that adding a kind of augmentation never changes what the others draw.
_HFLIP, _VFLIP, _CROP_H, _CROP_W, _TOP, _LEFT, _SCALE, _ASPECT = range(8)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(100, 103)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is varied at random each time an image is seen. `Augmentation.none()` varies nothing.

    Raises:
        UsageError: a value out of its range.
    """

    hflip: float = 0.5
    """Probability of mirroring left and right."""
    vflip: float = 0.0
    """Probability of mirroring top and bottom."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest factor of both sides, drawn uniformly in the logarithm."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor of height / width, drawn uniformly in the logarithm."""
    crop: float = 0.9
    """Smallest share of each side that a random crop keeps; each side is drawn by itself. 1 crops nothing."""
    color_jitter: float = 0.2
    """Strength s: brightness, contrast and saturation are each multiplied by a factor of 1-s to 1+s."""

    def __post_init__(self) -> None:
        for name, low, high in (("hflip", 0, 1), ("vflip", 0, 1), ("color_jitter", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name} is {value}; it must be {low} to {high}", hint=f"{name}=0 switches it off")
        if not 0 < self.crop <= 1:
            raise UsageError(
                f"crop is {self.crop}; it must be above 0 and at most 1", hint="crop=1 keeps the whole image"
            )
        for name in ("scale", "aspect"):
            low_factor, high_factor = getattr(self, name)
            if not (0 < low_factor <= high_factor and isfinite(high_factor)):
                raise UsageError(
                    f"{name} is ({low_factor}, {high_factor}); needed: two positive factors, smaller first",
                    hint=f"{name}=(1.0, 1.0) switches it off",
                )

    @classmethod
    def none(cls) -> "Augmentation":
        """No variation at all: every image as it is."""
        return cls(hflip=0.0, vflip=0.0, scale=(1.0, 1.0), aspect=(1.0, 1.0), crop=1.0, color_jitter=0.0)


class GeometryRow(NamedTuple):
    """How one image is cut, resized and mirrored: a box in native pixels, then the size that comes out."""

    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int
    hflip: bool
    vflip: bool


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of N images.

    Args:
        box: (N, 4) int64: top, left, height, width of the source box in native pixels.
        sizes: (N, 2) int64: the height and width that come out.
        flips: (N, 2) bool: mirrored left and right; mirrored top and bottom.
    """

    box: NDArray[np.int64]
    sizes: NDArray[np.int64]
    flips: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.box)

    def row(self, position: int) -> GeometryRow:
        """The geometry at one position, as plain numbers."""
        top, left, height, width = self.box[position].tolist()
        out_height, out_width = self.sizes[position].tolist()
        hflip, vflip = self.flips[position].tolist()
        return GeometryRow(top, left, height, width, out_height, out_width, hflip, vflip)


def draw_geometry(
    sizes: ArrayLike,
    indices: ArrayLike,
    augmentation: Augmentation | None,
    *,
    seed: int,
    epoch: int,
    max_side: int | None = None,
    smallest_side: int = 1,
) -> Geometry:
    """Cut, resize and mirror: what happens to each image in one epoch, without looking at a pixel.

    Each image's draw depends on (seed, epoch, its index) only: not on order, batch, worker or process.

    Args:
        sizes: (N, 2) native height and width of these images.
        indices: (N,) their indices in the data set.
        augmentation: None for no variation.
        seed: of the run.
        epoch: 0, 1, ...
        max_side: images whose longer side is above this are shrunk to it, keeping their aspect, to 1 px at
            least.
        smallest_side: neither crop nor jitter makes a side smaller than this; sides that are so already stay.

    Returns:
        The geometry, in the order of ``indices``.

    Raises:
        UsageError: ``max_side`` or ``smallest_side`` is below 1, or ``max_side`` below ``smallest_side``.
    """
    _require_sides(max_side, smallest_side)
    native = np.asarray(sizes, np.int64).reshape(-1, 2)
    index = np.asarray(indices, np.int64).reshape(-1)
    if len(native) != len(index):
        raise UsageError(f"draw_geometry got {len(native)} sizes for {len(index)} indices; it needs one for each")
    shrunk = _shrunk(native, max_side)
    if augmentation is None:
        box = np.concatenate([np.zeros_like(native), native], axis=1)
        return Geometry(box, shrunk, np.zeros(native.shape, np.bool_))

    def draw(number: int) -> NDArray[np.float64]:
        return uniform(seed, epoch, index, number)

    box = _crop_boxes(native, augmentation.crop, smallest_side, draw(_CROP_H), draw(_CROP_W), draw(_TOP), draw(_LEFT))
    factor = _factors(augmentation, draw(_SCALE), draw(_ASPECT))
    flips = np.stack([draw(_HFLIP) < augmentation.hflip, draw(_VFLIP) < augmentation.vflip], axis=1)
    return Geometry(box, _out_sizes(box[:, 2:], native, shrunk, factor, max_side, smallest_side), flips)


def _require_sides(max_side: int | None, smallest_side: int) -> None:
    if smallest_side < 1 or (max_side is not None and max_side < smallest_side):
        raise UsageError(
            f"smallest_side is {smallest_side} and max_side {max_side}; needed: 1 <= smallest <= max_side",
            hint=f"max_side={max(smallest_side, 1)} or more, or None for no limit",
        )


def _shrunk(native: NDArray[np.int64], max_side: int | None) -> NDArray[np.int64]:
    """(N, 2): sizes with the longer side at most ``max_side``; in integers, so exact on every machine."""
    if max_side is None:
        return native.copy()
    longer = native.max(axis=1, keepdims=True)
    scaled = np.maximum((2 * native * max_side + longer) // (2 * longer), 1)  # rounded half up
    return np.where(longer > max_side, scaled, native)


def _crop_boxes(
    native: NDArray[np.int64], smallest_share: float, smallest_side: int, *draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(N, 4) top, left, height, width, all of them whole native pixels: a crop alone never interpolates."""
    sides, places = np.stack(draws[:2], axis=1), np.stack(draws[2:], axis=1)
    shares = smallest_share + (1 - smallest_share) * sides
    kept = np.rint(native * shares).astype(np.int64)
    kept = np.clip(kept, np.minimum(native, smallest_side), native)
    corner = (places * (native - kept + 1)).astype(np.int64)
    return np.concatenate([corner, kept], axis=1)


def _factors(
    augmentation: Augmentation, scale: NDArray[np.float64], aspect: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 2) factors of height and width."""
    common = _log_uniform(augmentation.scale, scale)
    stretch = np.sqrt(_log_uniform(augmentation.aspect, aspect))
    return np.stack([common * stretch, common / stretch], axis=1)


def _log_uniform(bounds: tuple[float, float], u: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = bounds
    return np.asarray(np.exp(np.log(low) + (np.log(high) - np.log(low)) * u))


def _out_sizes(
    kept: NDArray[np.int64],
    native: NDArray[np.int64],
    shrunk: NDArray[np.int64],
    factor: NDArray[np.float64],
    max_side: int | None,
    smallest_side: int,
) -> NDArray[np.int64]:
    """(N, 2) sizes after resizing, within the limits; both factors give way together, to keep the aspect."""
    limit_ratio = shrunk.max(axis=1, keepdims=True) / native.max(axis=1, keepdims=True)  # 1 where nothing is shrunk
    wanted = kept * factor * limit_ratio
    lowest = np.minimum(shrunk, smallest_side)
    wanted = wanted * np.maximum((lowest / wanted).max(axis=1, keepdims=True), 1)
    if max_side is not None:
        wanted = wanted * np.minimum((max_side / wanted).min(axis=1, keepdims=True), 1)
    highest = max_side if max_side is not None else np.iinfo(np.int64).max
    # An extreme aspect can need both limits at once: then each side is held by itself.
    limited = np.clip(np.rint(wanted).astype(np.int64), lowest, highest)
    # Where nothing is varied the size is that of no augmentation at all, whose rounding is in integers.
    untouched = ((kept == native) & (factor == 1)).all(axis=1, keepdims=True)
    return np.asarray(np.where(untouched, shrunk, limited))


def apply_geometry(image: NDArray[np.uint8], row: GeometryRow) -> NDArray[np.uint8]:
    """Cut, resize (once, bilinear with antialiasing as Pillow has it) and mirror.

    Without a resize the pixels are the native ones, bit by bit.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        row: drawn for an image of this size.

    Returns:
        uint8 (out_height, out_width, C), C-contiguous.
    """
    top, left, height, width, out_height, out_width, hflip, vflip = row
    same_size = (out_height, out_width) == (height, width)
    if same_size and not (hflip or vflip):
        return np.ascontiguousarray(image[top : top + height, left : left + width])
    channels = image.shape[2]
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    box = (left, top, left + width, top + height)
    if same_size:
        picture = picture.crop(box)
    else:
        picture = picture.resize((out_width, out_height), Image.Resampling.BILINEAR, box=box)
    # Mirrored by Pillow: numpy copies a reversed axis of 3-byte pixels several times slower.
    if hflip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if vflip:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return np.array(picture).reshape(out_height, out_width, channels)


def jitter_color(image: NDArray[np.uint8], strength: float, *, seed: int, epoch: int, index: int) -> NDArray[np.uint8]:
    """Vary brightness, contrast (about the image's mean luma) and, in colour images, saturation.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        strength: s of 0 to 1: each factor is drawn uniformly from 1-s to 1+s. 0 gives the image back as it
            is.
        seed, epoch, index: the draw depends on these only.

    Returns:
        uint8 (H, W, C).
    """
    if strength == 0:
        return image
    brightness, contrast, saturation = (
        1 + strength * (2 * float(uniform(seed, epoch, index, number)) - 1)
        for number in (_BRIGHTNESS, _CONTRAST, _SATURATION)
    )
    channels = image.shape[2]
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    luma = picture.convert("L")
    mean = float(np.asarray(luma.histogram(), np.float64) @ np.arange(256)) / (luma.width * luma.height)
    # Brightness, then contrast about the brightened mean: one affine map, hence one table for all 256 values.
    levels = (np.arange(256) - mean) * brightness * contrast + mean * brightness
    picture = picture.point(np.rint(levels).clip(0, 255).astype(int).tolist() * channels)
    if channels == 3:
        picture = Image.blend(picture.convert("L").convert("RGB"), picture, saturation)
    return np.array(picture).reshape(image.shape)
