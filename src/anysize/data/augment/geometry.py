"""Where the pixels of an augmented image come from: drawn without looking at any."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anysize.data.augment.options import Augmentation
from anysize.data.augment.rotation import LEAST_SHARE, kept_share, limited_angles
from anysize.data.draws import uniform
from anysize.errors import UsageError

__all__ = ["Geometry", "GeometryRow", "draw_geometry", "shrunk_sizes"]

# One number for each use, so that adding a kind of augmentation never changes what the others draw. Colors have 100
# and up, patches 200 and up.
_HFLIP, _VFLIP, _CROP_H, _CROP_W, _TOP, _LEFT, _SCALE, _ASPECT, _ANGLE, _WINDOW_TOP, _WINDOW_LEFT = range(11)


class GeometryRow(NamedTuple):
    """How one image is cut, turned, resized, cut again and mirrored, in this order."""

    top: int
    left: int
    height: int
    width: int
    """The box that is cut, in native pixels."""
    out_height: int
    out_width: int
    """The size that comes out: that of the window."""
    hflip: bool
    vflip: bool
    whole_height: int
    whole_width: int
    """The size of the resized box, of which the window is a part."""
    window_top: int
    window_left: int
    angle: float
    """In radians, by which the box is turned; it is then cut to `share` of its sides."""
    share: float


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of N images.

    Args:
        box: (N, 4) int64: top, left, height, width of the source box in native pixels.
        sizes: (N, 2) int64: the height and width that come out.
        flips: (N, 2) bool: mirrored left and right; mirrored top and bottom.
        whole: (N, 2) int64: the height and width of the resized box.
        corner: (N, 2) int64: top and left, in the resized box, of the window that comes out.
        angles: (N,) float64: by which the box is turned, in radians.
        shares: (N,) float64: what the rotation leaves of each side.
    """

    box: NDArray[np.int64]
    sizes: NDArray[np.int64]
    flips: NDArray[np.bool_]
    whole: NDArray[np.int64]
    corner: NDArray[np.int64]
    angles: NDArray[np.float64]
    shares: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.box)

    def row(self, position: int) -> GeometryRow:
        """The geometry at one position, as plain numbers."""
        top, left, height, width = self.box[position].tolist()
        out_height, out_width = self.sizes[position].tolist()
        hflip, vflip = self.flips[position].tolist()
        whole_height, whole_width = self.whole[position].tolist()
        window_top, window_left = self.corner[position].tolist()
        return GeometryRow(
            top, left, height, width, out_height, out_width, hflip, vflip, whole_height, whole_width,
            window_top, window_left, float(self.angles[position]), float(self.shares[position]),
        )  # fmt: skip


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
    """Cut, turn, resize and mirror: what happens to each image in one epoch, without looking at a pixel.

    Each image's draw depends on (seed, epoch, its index) only: not on order, batch, worker or process.

    Args:
        sizes: (N, 2) native height and width of these images.
        indices: (N,) their indices in the data set.
        augmentation: None for no variation.
        seed: of the run.
        epoch: 0, 1, ...
        max_side: images whose longer side is above this are shrunk to it, keeping their aspect, to 1 px at
            least.
        smallest_side: no variation makes a side smaller than this; sides that are so already stay.

    Returns:
        The geometry, in the order of ``indices``.

    Raises:
        UsageError: ``max_side`` or ``smallest_side`` is below 1, or ``max_side`` or the augmentation's ``crop_size``
            below ``smallest_side``.
    """
    _require_sides(max_side, smallest_side, augmentation)
    native = np.asarray(sizes, np.int64).reshape(-1, 2)
    index = np.asarray(indices, np.int64).reshape(-1)
    if len(native) != len(index):
        raise UsageError(f"draw_geometry got {len(native)} sizes for {len(index)} indices; it needs one for each")
    shrunk = shrunk_sizes(native, max_side)
    if augmentation is None:
        return _unvaried(native, shrunk)

    def draw(number: int) -> NDArray[np.float64]:
        return uniform(seed, epoch, index, number)

    box = _crop_boxes(native, augmentation.crop, smallest_side, draw(_CROP_H), draw(_CROP_W), draw(_TOP), draw(_LEFT))
    kept = box[:, 2:]
    angles, shares = np.zeros(len(native)), np.ones(len(native))
    if augmentation.rotate:
        wanted = np.deg2rad(augmentation.rotate) * (2 * draw(_ANGLE) - 1)
        angles = limited_angles(kept.astype(np.float64), wanted, _least_shares(kept, native, smallest_side))
        shares = kept_share(kept.astype(np.float64), angles)
    factor = _factors(augmentation, draw(_SCALE), draw(_ASPECT))
    whole = _whole_sizes(kept, shares, native, shrunk, factor, max_side, smallest_side)
    flips = np.stack([draw(_HFLIP) < augmentation.hflip, draw(_VFLIP) < augmentation.vflip], axis=1)
    window, corner = whole, np.zeros_like(whole)
    if augmentation.crop_size is not None:
        window = np.minimum(whole, augmentation.crop_size)
        places = np.stack([draw(_WINDOW_TOP), draw(_WINDOW_LEFT)], axis=1)
        corner = (places * (whole - window + 1)).astype(np.int64)
    return Geometry(box, window, flips, whole, corner, angles, shares)


def shrunk_sizes(native: NDArray[np.int64], max_side: int | None) -> NDArray[np.int64]:
    """(N, 2): sizes with the longer side at most ``max_side``; in integers, so exact on every machine."""
    if max_side is None:
        return native.copy()
    longer = native.max(axis=1, keepdims=True)
    scaled = np.maximum((2 * native * max_side + longer) // (2 * longer), 1)  # rounded half up
    return np.where(longer > max_side, scaled, native)


def _unvaried(native: NDArray[np.int64], shrunk: NDArray[np.int64]) -> Geometry:
    nowhere = np.zeros_like(native)
    box = np.concatenate([nowhere, native], axis=1)
    angles, shares = np.zeros(len(native)), np.ones(len(native))
    return Geometry(box, shrunk, np.zeros(native.shape, np.bool_), shrunk, nowhere, angles, shares)


def _require_sides(max_side: int | None, smallest_side: int, augmentation: Augmentation | None) -> None:
    if smallest_side < 1 or (max_side is not None and max_side < smallest_side):
        raise UsageError(
            f"smallest_side is {smallest_side} and max_side {max_side}; needed: 1 <= smallest <= max_side",
            hint=f"max_side={max(smallest_side, 1)} or more, or None for no limit",
        )
    window = None if augmentation is None else augmentation.crop_size
    if window is not None and window < smallest_side:
        raise UsageError(
            f"crop_size is {window} and the smallest side {smallest_side}; no window may be below the smallest side",
            hint=f"crop_size={smallest_side} or more",
        )


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


def _least_shares(kept: NDArray[np.int64], native: NDArray[np.int64], smallest_side: int) -> NDArray[np.float64]:
    """(N,) what a rotation must leave of each side: half of it, and no less than the smallest side."""
    lowest = np.minimum(native, smallest_side)
    return np.asarray(np.maximum((lowest / kept).max(axis=1), LEAST_SHARE))


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


def _whole_sizes(
    kept: NDArray[np.int64],
    shares: NDArray[np.float64],
    native: NDArray[np.int64],
    shrunk: NDArray[np.int64],
    factor: NDArray[np.float64],
    max_side: int | None,
    smallest_side: int,
) -> NDArray[np.int64]:
    """(N, 2) sizes after resizing, within the limits; both factors give way together, to keep the aspect."""
    limit_ratio = shrunk.max(axis=1, keepdims=True) / native.max(axis=1, keepdims=True)  # 1 where nothing is shrunk
    wanted = kept * shares[:, None] * factor * limit_ratio
    lowest = np.minimum(shrunk, smallest_side)
    wanted = wanted * np.maximum((lowest / wanted).max(axis=1, keepdims=True), 1)
    if max_side is not None:
        wanted = wanted * np.minimum((max_side / wanted).min(axis=1, keepdims=True), 1)
    highest = max_side if max_side is not None else np.iinfo(np.int64).max
    # An extreme aspect can need both limits at once: then each side is held by itself.
    limited = np.clip(np.rint(wanted).astype(np.int64), lowest, highest)
    # Where nothing is varied the size is that of no augmentation at all, whose rounding is in integers.
    untouched = ((kept == native) & (factor == 1) & (shares == 1)[:, None]).all(axis=1, keepdims=True)
    return np.asarray(np.where(untouched, shrunk, limited))
