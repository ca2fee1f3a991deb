"""What decoding one mask has shown: its size, and which values it holds, how often and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.masks.palette import packed_colors
from anysize.data.masks.values import MaskValues, read_values
from anysize.data.pillow import ByteSource, ImageReadError

__all__ = ["MOST_VALUES", "NO_COLOR", "MaskFacts", "pack_facts", "read_facts", "unpack_facts"]

MOST_VALUES = 1024
"""Different values (or colours) of one mask that are kept, those with most pixels; a label mask has fewer."""
NO_COLOR = -1
"""In `MaskFacts.colors`: the value has none."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """The content of one mask file in a few numbers; no flag plays a part, so it is kept from run to run.

    Args:
        height, width: in pixels, after the EXIF orientation is applied.
        format: as Pillow calls it, such as "PNG".
        orientation: EXIF, 1 to 8.
        in_color: its pixels are colours; otherwise numbers.
        num_values: how many different values or colours there are, or `MOST_VALUES` + 1 for more.
        rows: (M, 4) int64 as bytes, by value: the value (packed colour, of a mask in colour); its pixels; how many of
            these lie strictly between two opposite neighbours, as at a border that was resized smoothly (0 of masks
            in colour); its colour packed, or `NO_COLOR`.
    """

    height: int
    width: int
    format: str
    orientation: int
    in_color: bool
    num_values: int
    rows: bytes

    @property
    def table(self) -> NDArray[np.int64]:
        """``rows`` as (M, 4) int64."""
        return np.frombuffer(self.rows, np.int64).reshape(-1, 4)

    @property
    def values(self) -> NDArray[np.int64]:
        """(M,) the values, or packed colours, in rising order."""
        return self.table[:, 0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(M,) pixels of each value."""
        return self.table[:, 1]

    @property
    def between(self) -> NDArray[np.int64]:
        """(M,) pixels of each value that lie strictly between their neighbours."""
        return self.table[:, 2]

    @property
    def colors(self) -> NDArray[np.int64]:
        """(M,) the packed colour of each value, or `NO_COLOR`."""
        return self.table[:, 3]


def read_facts(path: Path | str | ByteSource, max_image_pixels: int) -> MaskFacts:
    """Decode a mask and count.

    Raises:
        ImageReadError: it cannot be read as a mask.
    """
    if not isinstance(path, Path | str):
        raise ImageReadError("a mask in a shard is not read")
    read = read_values(path, max_image_pixels=max_image_pixels)
    num_values, rows = _color_rows(read.values) if read.in_color else _index_rows(read)
    height, width = read.values.shape[:2]
    return MaskFacts(height, width, read.format, read.orientation, read.in_color, num_values, rows.tobytes())


def _index_rows(read: MaskValues) -> tuple[int, NDArray[np.int64]]:
    values = read.values
    if values.dtype == np.uint8:
        counts = np.array(Image.fromarray(values).histogram(), np.int64)  # ten times faster than np.bincount
    else:
        counts = np.bincount(values.ravel())
    between = np.bincount(values[_between(values)], minlength=len(counts))
    found = np.flatnonzero(counts)
    kept = found if len(found) <= MOST_VALUES else np.sort(found[np.argsort(-counts[found])[:MOST_VALUES]])
    colors = np.full(len(counts), NO_COLOR, np.int64)
    if read.palette is not None:
        length = min(len(counts), len(read.palette))
        colors[:length] = packed_colors(read.palette[:length])
    rows = np.stack([kept, counts[kept], between[kept], colors[kept]], axis=1).astype(np.int64)
    return min(len(found), MOST_VALUES + 1), rows


def _between(values: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.bool_]:
    """(H, W) True where a pixel lies strictly between two that are equally far on opposite sides, 1 or 2 px away."""
    marked = np.zeros(values.shape, np.bool_)
    for reach in (1, 2):
        for axis in (0, 1):
            if values.shape[axis] <= 2 * reach:
                continue
            along, seen = values.swapaxes(0, axis), marked.swapaxes(0, axis)
            low, middle, high = along[: -2 * reach], along[reach:-reach], along[2 * reach :]
            # Most pixels equal their neighbours: the rest is looked at one by one.
            rows, columns = np.nonzero(low != high)
            a, m, b = low[rows, columns], middle[rows, columns], high[rows, columns]
            inside = ((a < m) & (m < b)) | ((a > m) & (m > b))
            seen[rows[inside] + reach, columns[inside]] = True
    return marked


def _color_rows(pixels: NDArray[Any]) -> tuple[int, NDArray[np.int64]]:
    known = Image.fromarray(pixels).getcolors(MOST_VALUES)
    if known is not None:
        packed = packed_colors(np.array([color for _, color in known], np.uint8)).astype(np.int64)
        counts = np.array([count for count, _ in known], np.int64)
        num_values = len(packed)
    else:
        packed, counts = np.unique(packed_colors(pixels), return_counts=True)
        kept = np.argsort(-counts, kind="stable")[:MOST_VALUES]
        packed, counts, num_values = packed[kept].astype(np.int64), counts[kept], MOST_VALUES + 1
    order = np.argsort(packed)
    packed, counts = packed[order], counts[order]
    return num_values, np.stack([packed, counts, np.zeros_like(packed), packed], axis=1).astype(np.int64)


def pack_facts(facts: MaskFacts) -> list[Any]:
    """As JSON takes it."""
    head = [facts.height, facts.width, facts.format, facts.orientation, facts.in_color, facts.num_values]
    return [*head, facts.table.ravel().tolist()]


def unpack_facts(value: list[Any]) -> MaskFacts:
    """What `pack_facts` made.

    Raises:
        ValueError, TypeError: it is something else.
    """
    height, width, kind, orientation, in_color, num_values, rows = value
    table = np.array(rows, np.int64).reshape(-1, 4)
    return MaskFacts(
        int(height), int(width), str(kind), int(orientation), bool(in_color), int(num_values), table.tobytes()
    )
