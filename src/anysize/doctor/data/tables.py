"""The tables of a survey, as plain data: the report in text, the page and the JSON are made of them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anysize.data.statistics import merged
from anysize.doctor.data.survey import Survey

__all__ = [
    "ClassRow",
    "SizeBin",
    "SplitRow",
    "class_rows",
    "label_values",
    "pixel_statistics",
    "size_bins",
    "split_rows",
]

_MOST_BINS = 10
_MOST_VALUES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One split; sizes are (height, width) in pixels."""

    name: str
    num_images: int
    smallest: tuple[int, int]
    """By area."""
    median_side: int
    """Of the square root of the area."""
    largest: tuple[int, int]
    """By area."""
    num_sizes: int
    """Distinct sizes."""
    megapixels: float
    ignored: int
    """Pixels with the ignore label."""
    pixels: int
    """Of the masks in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBin:
    """Images whose side (square root of the area) lies in ``low`` <= side < ``high``, in pixels."""

    low: int
    high: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class; by split pixels (or images, where images are labelled) and the images that hold it."""

    index: int
    name: str
    color: tuple[int, int, int] | None
    counts: dict[str, int]
    shares: dict[str, float]
    """Of what is labelled in that split."""
    images: dict[str, int]


def split_rows(survey: Survey) -> list[SplitRow]:
    """One row for each split that has images."""
    rows = []
    for part in survey.parts:
        sizes = part.table.sizes
        if not len(sizes):
            continue
        areas = sizes.prod(axis=1)
        counts = survey.class_counts(part.name) if survey.task == "segment" else np.zeros(1, np.int64)
        rows.append(
            SplitRow(
                name=part.name,
                num_images=len(sizes),
                smallest=_size(sizes[np.argmin(areas)]),
                median_side=round(float(np.median(np.sqrt(areas)))),
                largest=_size(sizes[np.argmax(areas)]),
                num_sizes=len(np.unique(sizes, axis=0)),
                megapixels=float(areas.sum()) / 1e6,
                ignored=int(counts[-1]),
                pixels=int(counts.sum()),
            )
        )
    return rows


def size_bins(survey: Survey) -> list[SizeBin]:
    """Images by side, the square root of their area, in bins of one ratio; empty where all are of one size."""
    sizes = np.concatenate([part.table.sizes for part in survey.parts])
    if not len(sizes) or (sizes == sizes[0]).all():
        return []
    sides = np.sqrt(sizes.prod(axis=1).astype(np.float64))
    low, high = float(sides.min()), float(sides.max())
    # Ratios that are remembered: 1.19 (a quarter of an octave), 1.41, 2, 4, ...
    ratio = next((r for r in (2**0.25, 2**0.5, 2.0) if math.log(high / low, r) < _MOST_BINS), 4.0)
    first = math.floor(math.log(low, ratio))
    # Rounded down: the first edge may not pass the smallest image.
    edges = [math.floor(ratio ** (first + step) + 1e-9) for step in range(_MOST_BINS + 12)]
    edges = sorted(set(edges[: next(i for i, edge in enumerate(edges) if edge > high) + 1]))
    counts, _ = np.histogram(sides, bins=[*edges[:-1], edges[-1] + 1])
    found = [
        SizeBin(low=edges[index], high=edges[index + 1], num_images=int(count)) for index, count in enumerate(counts)
    ]
    filled = [index for index, item in enumerate(found) if item.num_images]
    return found[filled[0] : filled[-1] + 1]


def class_rows(survey: Survey) -> list[ClassRow]:
    """One row for each class."""
    if survey.task == "none":
        return []
    counts = {part.name: survey.class_counts(part.name)[:-1] for part in survey.parts}
    images = {part.name: survey.images_with(part.name) for part in survey.parts}
    return [
        ClassRow(
            index=index,
            name=name,
            color=survey.palette[index] if index < len(survey.palette) else None,
            counts={part: int(found[index]) for part, found in counts.items()},
            shares={part: _share(found, index) for part, found in counts.items()},
            images={part: int(found[index]) for part, found in images.items()},
        )
        for index, name in enumerate(survey.classes)
    ]


def label_values(survey: Survey) -> list[dict[str, Any]]:
    """What stands in the mask files: each value (or colour) with its pixels and masks, most frequent first, capped."""
    pixels: dict[int | tuple[int, int, int], int] = {}
    masks: dict[int | tuple[int, int, int], int] = {}
    for pair in survey.pairs:
        found: list[tuple[int | tuple[int, int, int], int]] = [*pair.look.values, *pair.look.colors]
        for value, count in found:
            pixels[value] = pixels.get(value, 0) + count
            masks[value] = masks.get(value, 0) + 1
    order = sorted(pixels, key=lambda value: -pixels[value])
    shown = order[:_MOST_VALUES]
    if not any(isinstance(value, tuple) for value in shown):
        shown.sort()
    return [
        {"value": value if isinstance(value, int) else list(value), "pixels": pixels[value], "masks": masks[value]}
        for value in shown
    ]


def pixel_statistics(survey: Survey) -> dict[str, list[float]] | None:
    """Mean and standard deviation per channel (RGB, 0..255) of the training images looked at."""
    total = merged(item.look.rgb for item in survey.seen if item.part == "train")
    return None if total is None else {"mean": list(total.mean()), "std": list(total.std())}


def _size(row: NDArray[np.int64]) -> tuple[int, int]:
    return int(row[0]), int(row[1])


def _share(counts: NDArray[np.int64], index: int) -> float:
    total = int(counts.sum())
    return float(counts[index]) / total if total else math.nan
