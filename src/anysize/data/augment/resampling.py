"""The pixels of an augmented image, and those of its mask: one geometry, two ways to sample it."""

from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.augment.geometry import GeometryRow
from anysize.data.augment.rotation import Affine, rotated_map

__all__ = ["apply_geometry", "apply_to_mask"]


def apply_geometry(image: NDArray[np.uint8], row: GeometryRow) -> NDArray[np.uint8]:
    """Cut, turn, resize (bilinear, with antialiasing as Pillow has it), cut the window and mirror.

    Without a rotation or a resize the pixels are the native ones, bit by bit. A rotation is one bilinear sampling
    together with an enlargement; an image that is made smaller is shrunk, antialiased, before it is turned. Every
    sample lies within the box that was cut: there is no fill.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        row: drawn for an image of this size.

    Returns:
        uint8 (out_height, out_width, C), C-contiguous.
    """
    same_size = (row.whole_height, row.whole_width) == (row.height, row.width)
    if row.angle == 0 and same_size:
        part = _native_window(image, row)
        if not (row.hflip or row.vflip):
            return np.ascontiguousarray(part)
        picture = _picture(part)
    else:
        picture = _resized(image, row) if row.angle == 0 else _turned(image, row)
    # Mirrored by Pillow: numpy copies a reversed axis of 3-byte pixels several times slower.
    if row.hflip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if row.vflip:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return np.array(picture).reshape(row.out_height, row.out_width, image.shape[2])


def apply_to_mask(mask: NDArray[np.uint8], row: GeometryRow) -> NDArray[np.uint8]:
    """The same for a mask: each pixel is the nearest native one, never a mixture of two.

    The center of pixel i of n is at (i + 0.5) / n of the side, as it is when the image is resized. A center that falls
    on the border of two native pixels takes the one to the right or below.

    Args:
        mask: uint8 (H, W), of the size for which ``row`` was drawn.

    Returns:
        uint8 (out_height, out_width), C-contiguous.
    """
    if row.angle:
        affine, (top, left, bottom, right) = _turned_from(row, row.height, row.width)
        part = mask[row.top + top : row.top + bottom, row.left + left : row.left + right]
        moved = _moved(affine, top, left)
        picture = Image.fromarray(np.ascontiguousarray(part)).transform(
            (row.out_width, row.out_height), Image.Transform.AFFINE, moved, Image.Resampling.NEAREST
        )
        result = np.asarray(picture)
    elif (row.whole_height, row.whole_width) == (row.height, row.width):
        result = _native_window(mask, row)
    else:
        rows = row.top + _nearest(row.window_top, row.out_height, row.whole_height, row.height)
        columns = row.left + _nearest(row.window_left, row.out_width, row.whole_width, row.width)
        result = mask[rows][:, columns]
    if row.hflip:
        result = result[:, ::-1]
    if row.vflip:
        result = result[::-1]
    return np.ascontiguousarray(result)


def _nearest(start: int, count: int, whole: int, native: int) -> NDArray[np.int64]:
    """(count,) native pixel in which the center of each lies: floor((i + 0.5) native / whole), in integers."""
    return (2 * np.arange(start, start + count) + 1) * native // (2 * whole)


def _native_window(image: NDArray[np.uint8], row: GeometryRow) -> NDArray[np.uint8]:
    top, left = row.top + row.window_top, row.left + row.window_left
    return image[top : top + row.out_height, left : left + row.out_width]


def _picture(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image) if image.shape[2] == 3 else image[..., 0])


def _resized(image: NDArray[np.uint8], row: GeometryRow) -> Image.Image:
    """The window of the resized box; a window is resized alone, with the pixels around it that its border needs."""
    window = (row.window_top, row.window_left, row.out_height, row.out_width)
    return _resized_part(image, row, (row.whole_height, row.whole_width), window)


def _resized_part(
    image: NDArray[np.uint8], row: GeometryRow, whole: tuple[int, int], part: tuple[int, int, int, int]
) -> Image.Image:
    """A part (top, left, height, width) of the box of ``row`` as it is when resized to ``whole``."""
    down, across = row.height / whole[0], row.width / whole[1]
    top, left = row.top + part[0] * down, row.left + part[1] * across
    bottom, right = top + part[2] * down, left + part[3] * across
    # Bilinear filtering reaches as far as the distance of two output pixels, and one native pixel at least.
    first_row, first_column = max(floor(top - down) - 2, 0), max(floor(left - across) - 2, 0)
    last_row, last_column = ceil(bottom + down) + 2, ceil(right + across) + 2
    picture = _picture(image[first_row:last_row, first_column:last_column])
    box = (left - first_column, top - first_row, right - first_column, bottom - first_row)
    box = (*box[:2], min(box[2], picture.width), min(box[3], picture.height))  # rounding may lead a hair beyond
    return picture.resize((part[3], part[2]), Image.Resampling.BILINEAR, box=box)


def _turned(image: NDArray[np.uint8], row: GeometryRow) -> Image.Image:
    """The window of the turned and resized box; no sample lies outside the box."""
    scale = sqrt(row.whole_height * row.whole_width / (row.height * row.width)) / row.share
    if scale < 1:  # bilinear sampling looks at four pixels: of an image that is made smaller it would miss some
        height, width = max(round(row.height * scale), 1), max(round(row.width * scale), 1)
        affine, (top, left, bottom, right) = _turned_from(row, height, width)
        picture = _resized_part(image, row, (height, width), (top, left, bottom - top, right - left))
    else:
        affine, (top, left, bottom, right) = _turned_from(row, row.height, row.width)
        picture = _picture(image[row.top + top : row.top + bottom, row.left + left : row.left + right])
    return picture.transform(
        (row.out_width, row.out_height), Image.Transform.AFFINE, _moved(affine, top, left), Image.Resampling.BILINEAR
    )


def _turned_from(row: GeometryRow, height: int, width: int) -> tuple[Affine, tuple[int, int, int, int]]:
    """How window pixels lie in the box, of the native size or shrunk to ``height`` x ``width``, and the part of it
    (top, left, bottom, right) that they need."""
    whole, corner = (row.whole_height, row.whole_width), (row.window_top, row.window_left)
    native = rotated_map((row.height, row.width), whole, corner, row.angle, row.share)
    down, across = height / row.height, width / row.width
    a, b, c, d, e, f = native
    affine = Affine(a * across, b * across, c * across, d * down, e * down, f * down)
    xs = [affine.a * x + affine.b * y + affine.c for x in (0, row.out_width) for y in (0, row.out_height)]
    ys = [affine.d * x + affine.e * y + affine.f for x in (0, row.out_width) for y in (0, row.out_height)]
    top, left = max(floor(min(ys)) - 2, 0), max(floor(min(xs)) - 2, 0)
    return affine, (top, left, min(ceil(max(ys)) + 2, height), min(ceil(max(xs)) + 2, width))


def _moved(affine: Affine, top: int, left: int) -> Affine:
    return affine._replace(c=affine.c - left, f=affine.f - top)
