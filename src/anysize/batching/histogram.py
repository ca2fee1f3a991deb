"""How many images there are of each size: all that choosing canvases needs, however many images there are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anysize.batching.limits import blocks, check_all, check_multiple, round_up
from anysize.batching.segments import Floats, Ints
from anysize.errors import PlanError

__all__ = ["SizeHistogram"]

# Up to so many cells are counted in a table of all of them; more are sorted, which is several times slower.
_TABLE = 1 << 19


@dataclass(frozen=True, eq=False)
class SizeHistogram:
    """Distinct sizes, rounded up to what canvases may be, and what lies in each.

    Attributes:
        sizes: (U, 2) int64 height and width, each a multiple of ``multiple_of``; by height, then by width.
        counts: (U,) int64 images of each.
        pixels: (U,) float64, the sum of the true areas of those images.
        multiple_of: what heights and widths were rounded up to.
    """

    sizes: Ints
    counts: Ints
    pixels: Floats
    multiple_of: int

    @classmethod
    def of(cls, sizes: npt.ArrayLike, multiple_of: int = 1) -> "SizeHistogram":
        """Count images, block by block: a memory-mapped array of sizes is never loaded as a whole.

        Args:
            sizes: (N, 2) integers, height and width of each image.
            multiple_of: canvas heights and widths are multiples of this.

        Raises:
            PlanError: there are no sizes, or some are not positive integers.
        """
        multiple_of = check_multiple(multiple_of)
        array = check_all(sizes)
        columns = -(-int(array[:, 1].max()) // multiple_of) + 1
        num_cells = (-(-int(array[:, 0].max()) // multiple_of) + 1) * columns
        if num_cells > _TABLE:
            return cls.joined([_sorted(block.astype(np.int64), multiple_of) for _, block in blocks(array)])
        counts, pixels = np.zeros(num_cells, dtype=np.int64), np.zeros(num_cells)
        for _, block in blocks(array):
            heights, widths = block.T.astype(np.int64)
            codes = -(-heights // multiple_of) * columns - (-widths // multiple_of)
            counts += np.bincount(codes, minlength=num_cells)
            pixels += np.bincount(codes, weights=heights * widths, minlength=num_cells)
        used = np.flatnonzero(counts)
        distinct = np.stack(np.divmod(used, columns), axis=1) * multiple_of
        return cls(distinct, counts[used], pixels[used], multiple_of)

    @classmethod
    def joined(cls, parts: "list[SizeHistogram]") -> "SizeHistogram":
        """The images of several histograms together.

        Raises:
            PlanError: there is none, or they are rounded to different multiples.
        """
        if not parts:
            raise PlanError("there are no histograms to join")
        multiples = {part.multiple_of for part in parts}
        if len(multiples) != 1:
            raise PlanError(f"histograms are rounded to multiples of {sorted(multiples)}; they must have one in common")
        cells, place = np.unique(np.concatenate([part.sizes for part in parts]), axis=0, return_inverse=True)
        counts = np.zeros(len(cells), dtype=np.int64)
        pixels = np.zeros(len(cells))
        np.add.at(counts, place.reshape(-1), np.concatenate([part.counts for part in parts]))
        np.add.at(pixels, place.reshape(-1), np.concatenate([part.pixels for part in parts]))
        return cls(cells, counts, pixels, multiples.pop())

    @property
    def num_images(self) -> int:
        """Images of all sizes."""
        return int(self.counts.sum())

    @property
    def areas(self) -> Floats:
        """(U,) pixels of the smallest canvas for each size."""
        return self.sizes[:, 0].astype(np.float64) * self.sizes[:, 1]


def _sorted(sizes: Ints, multiple_of: int) -> SizeHistogram:
    """For sides so long that a table of all sizes would be large beside the images."""
    rounded = round_up(sizes, multiple_of)
    span = int(rounded[:, 1].max()) + 1
    codes, place, counts = np.unique(rounded[:, 0] * span + rounded[:, 1], return_inverse=True, return_counts=True)
    pixels: Floats = np.zeros(len(codes))
    np.add.at(pixels, place.reshape(-1), (sizes[:, 0] * sizes[:, 1]).astype(np.float64))
    return SizeHistogram(np.stack(np.divmod(codes, span), axis=1), counts.astype(np.int64), pixels, multiple_of)
