"""All masks of a data set, with what is known of them and of their images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.facts import MaskFacts
from anysize.data.masks.meaning import MaskMeaning
from anysize.data.masks.rules import MaskRules

__all__ = ["MaskSet", "counted"]


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The masks of a data set that can be read, and their images; N of each.

    Args:
        root: of the data.
        masks: paths relative to ``root``.
        facts: what decoding each has shown.
        sizes: (N, 2) height and width of the images, upright.
        orientations: (N,) EXIF orientation of the images, 1 to 8.
        meaning: what the values mean.
        rules: what the user said.
    """

    root: Path
    masks: Sequence[str]
    facts: Sequence[MaskFacts]
    sizes: NDArray[np.int64]
    orientations: NDArray[np.int64]
    meaning: MaskMeaning
    rules: MaskRules

    def paths(self, rows: Iterable[int]) -> tuple[str, ...]:
        """The masks of these rows."""
        return tuple(self.masks[row] for row in rows)


def counted(count: int, verb: str, plural: str) -> str:
    """The number of masks, with the verb that it takes.

    >>> counted(2, "is", "are")
    '2 masks are'
    """
    return f"{count} mask{'' if count == 1 else 's'} {verb if count == 1 else plural}"
