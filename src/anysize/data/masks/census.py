"""How many pixels of each class every mask has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.coding import IGNORED, UNKNOWN, MaskCoding
from anysize.data.masks.facts import MaskFacts
from anysize.data.masks.meaning import classes_of_rows

__all__ = ["MaskCensus", "count_classes"]

_MOST_WIDE = 2**26


@dataclass(frozen=True, eq=False)
class MaskCensus:
    """Pixel counts of N masks.

    Args:
        masks: the masks, paths relative to the root.
        counts: (N, K) pixels of each class; int64, or int32 where N * K is above 2^26 (a million masks of 150 classes
            take 600 MB). One mask has fewer pixels than 2^31.
        ignored: (N,) int64 pixels without a label.
        unknown: (N,) int64 pixels of values that mean nothing; 0 in data that `load_data` accepts.
    """

    masks: tuple[str, ...]
    counts: NDArray[np.int64] | NDArray[np.int32]
    ignored: NDArray[np.int64]
    unknown: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ignored)

    @property
    def class_pixels(self) -> NDArray[np.int64]:
        """(K,) pixels of each class in all masks together."""
        total: NDArray[np.int64] = self.counts.sum(axis=0, dtype=np.int64)
        return total

    @property
    def num_ignored(self) -> int:
        """Pixels without a label in all masks together."""
        return int(self.ignored.sum())

    @property
    def class_images(self) -> NDArray[np.int64]:
        """(K,) masks in which each class has a pixel at least."""
        total: NDArray[np.int64] = np.count_nonzero(self.counts, axis=0).astype(np.int64)
        return total

    def of(self, masks: Sequence[str]) -> "MaskCensus":
        """The rows of these masks, in their order; such as those of a table, ``census.of(table.masks)``.

        Raises:
            KeyError: a mask that was not counted.
        """
        row = {mask: number for number, mask in enumerate(self.masks)}
        rows = np.array([row[mask] for mask in masks], np.int64)
        return MaskCensus(tuple(masks), self.counts[rows], self.ignored[rows], self.unknown[rows])


def count_classes(masks: Sequence[str], facts: Sequence[MaskFacts], coding: MaskCoding) -> MaskCensus:
    """The census of ``masks`` from what decoding each has shown; nothing is read again."""
    n, k = len(facts), coding.num_classes
    counts = np.zeros((n, k), np.int64 if n * k <= _MOST_WIDE else np.int32)
    ignored = np.zeros(n, np.int64)
    unknown = np.zeros(n, np.int64)
    for row, fact in enumerate(facts):
        classes, pixels = classes_of_rows(fact, coding), fact.counts
        labelled = (classes != IGNORED) & (classes != UNKNOWN)
        np.add.at(counts[row], classes[labelled], pixels[labelled])
        ignored[row] = pixels[classes == IGNORED].sum()
        # Of masks with very many colours not every one was kept.
        unknown[row] = fact.height * fact.width - pixels[classes != UNKNOWN].sum()
    return MaskCensus(tuple(masks), counts, ignored, unknown)
