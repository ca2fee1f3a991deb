"""The pictures of a sheet as arrays: masks in colour, errors, and all of them at the size they are shown."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.masks.coding import IGNORED
from anysize.reporting import palette
from anysize.reporting.segmentation.item import Colors

__all__ = [
    "blend",
    "color_labels",
    "error_map",
    "hatching",
    "resize_labels",
    "resize_picture",
    "rgb",
    "shown_size",
]

BOX = 330  # dots: the longest side of a picture
SEEN_SIDE = 96  # a picture whose longer side is shorter is enlarged to about this, by an integer
HATCH_LIGHT, HATCH_DARK = 238, 168
HATCH_DOTS = 4  # across a stripe and the gap beside it, along a row
FAINT = 0.35  # of the picture's contrast that right pixels keep in a map of errors


def shown_size(size: tuple[int, int], box: int = BOX) -> tuple[int, int]:
    """``(height, width)`` in dots: as it is if it fits, times an integer if it is tiny, else shrunk, in its shape.

    >>> shown_size((300, 200)), shown_size((1, 1)), shown_size((660, 330)), shown_size((5000, 80))
    ((300, 200), (96, 96), (330, 165), (330, 5))
    """
    height, width = size
    longest = max(height, width)
    scale = box / longest if longest > box else float(max(1, math.ceil(SEEN_SIDE / longest)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Take the label under the centre of each dot: classes are never mixed."""
    rows, columns = (
        ((np.arange(num_dots) + 0.5) * length / num_dots).astype(np.int64)
        for num_dots, length in zip(size, labels.shape, strict=True)
    )
    shown: NDArray[np.uint8] = labels[rows[:, None], columns[None, :]]
    return shown


def resize_picture(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``(H, W, C)`` to ``(*size, 3)``: enlarged dots stay squares, a shrunk picture is smooth."""
    pixels = image[..., 0] if image.shape[2] == 1 else image
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    height, width = size
    if picture.size == (width, height):
        return np.asarray(picture)
    if height >= picture.size[1] and width >= picture.size[0]:
        return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0))


def hatching(size: tuple[int, int]) -> NDArray[np.uint8]:
    """``(H, W, 3)`` grey diagonal stripes: a pattern and no colour, for any grey may be a class's."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    stripe = (rows + columns) // HATCH_DOTS % 2 == 0
    grey = np.where(stripe, HATCH_DARK, HATCH_LIGHT).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def color_labels(labels: NDArray[np.uint8], colors: Colors) -> NDArray[np.uint8]:
    """``(H, W)`` labels as ``(H, W, 3)``; 255 is hatched."""
    table = np.zeros((IGNORED + 1, 3), dtype=np.uint8)
    table[: len(colors)] = np.array(colors, dtype=np.uint8).reshape(-1, 3)
    colored: NDArray[np.uint8] = table[labels]
    ignored = labels == IGNORED
    colored[ignored] = hatching((labels.shape[0], labels.shape[1]))[ignored]
    return colored


def error_map(picture: NDArray[np.uint8], truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(H, W, 3)``: wrong pixels in one strong colour, right ones a faint grey picture, ignored ones hatched."""
    grey = picture.astype(np.float32).mean(axis=2)
    faint = np.rint(255 - FAINT * (255 - grey)).astype(np.uint8)
    shown = np.repeat(faint[..., None], 3, axis=2)
    ignored = truth == IGNORED
    shown[truth != prediction] = rgb(palette.WRONG)
    shown[ignored] = hatching((truth.shape[0], truth.shape[1]))[ignored]
    return shown


def blend(picture: NDArray[np.uint8], labels: NDArray[np.uint8], colors: Colors) -> NDArray[np.uint8]:
    """``(H, W, 3)``: the mask half transparent over the picture, which shows whether they lie on each other.

    Borders between classes are lines of the full colour: they are what should run along the picture's edges. Black,
    the first of Pascal VOC's colours, would tell nothing and darken what lies below: there the picture stays as it is.
    """
    colored = color_labels(labels, colors)
    mixed = ((picture.astype(np.uint16) + colored) // 2).astype(np.uint8)
    is_black = ~colored.any(axis=2)
    mixed[is_black] = picture[is_black]
    border = np.zeros(labels.shape, dtype=bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    mixed[border] = colored[border]
    return mixed


def rgb(color: str) -> tuple[int, int, int]:
    """The three bytes of ``"#RRGGBB"``."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
