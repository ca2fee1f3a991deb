"""What padding costs: in a plan, and in the usual ways to make batches of images of many sizes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anysize.batching.grouping import mixed_steps
from anysize.batching.limits import check_at_least_one, check_sizes
from anysize.batching.noise import stream_key
from anysize.batching.plan import MicroBatch, Plan
from anysize.batching.segments import Ints
from anysize.errors import PlanError

__all__ = [
    "SquareResize",
    "UsualWays",
    "Waste",
    "WorstMicroBatches",
    "measure_waste",
    "padding_share",
    "usual_ways",
    "worst_micro_batch",
]

_NOTICEABLE_DISTORTION = 1.25


@dataclass(frozen=True, slots=True)
class Waste:
    """Pixels of images, and of the canvases that they lie on.

    Attributes:
        real_pixels: the sum of the images' areas.
        canvas_pixels: the sum over micro-batches of canvas area times number of images.
    """

    real_pixels: int
    canvas_pixels: int

    @property
    def share(self) -> float:
        """Padding share: canvas pixels that are no image's, between 0 and 1; 0 if there is no canvas."""
        return 1 - self.real_pixels / self.canvas_pixels if self.canvas_pixels else 0.0


@dataclass(frozen=True, slots=True)
class WorstMicroBatches:
    """Where a plan wastes most, and where it needs most memory.

    Attributes:
        most_padded: the micro-batch with the largest padding share; the first of equals.
        most_padded_share: that share, between 0 and 1.
        largest: the micro-batch with the most canvas pixels; the first of equals.
        largest_pixels: their number, canvas area times images.
    """

    most_padded: MicroBatch
    most_padded_share: float
    largest: MicroBatch
    largest_pixels: int


@dataclass(frozen=True, slots=True)
class SquareResize:
    """What resizing every image to one square does to them.

    Attributes:
        side: height and width of the square in pixels.
        median_distortion: the median over images of the change of aspect, max(h/w, w/h): 1 is none, 2 means
            that circles become ellipses twice as long as wide.
        distorted_share: share of the images whose aspect changes by more than 25 %.
        lost_share: share of all real pixels that the square has no room for (images larger than it).
        invented_share: share of the squares' pixels that no image had (images smaller than the square).
    """

    side: int
    median_distortion: float
    distorted_share: float
    lost_share: float
    invented_share: float


@dataclass(frozen=True, slots=True)
class UsualWays:
    """The common ways to make batches of images of many sizes, for comparison with a plan.

    Attributes:
        pad_to_largest: every image on a canvas of the data set's largest height and largest width.
        random_batches: random batches, each padded to its own largest height and width.
        square: every image resized to one square: nothing is padded, and the images change.
    """

    pad_to_largest: Waste
    random_batches: Waste
    square: SquareResize


def measure_waste(plan: Plan, sizes: npt.ArrayLike) -> Waste:
    """Real and canvas pixels of a plan.

    Args:
        plan: of all or some of the images.
        sizes: (N, 2) the (height, width) of each image, as the plan was made from.

    Raises:
        PlanError: the sizes cannot be used, or are of fewer images than the plan's.
    """
    real, canvas = _pixels(plan, sizes)
    return Waste(int(real.sum()), int(canvas.sum()))


def padding_share(plan: Plan, sizes: npt.ArrayLike) -> float:
    """Share of a plan's canvas pixels that are padding, between 0 and 1; see `measure_waste`."""
    return measure_waste(plan, sizes).share


def worst_micro_batch(plan: Plan, sizes: npt.ArrayLike) -> WorstMicroBatches:
    """Find the micro-batch with the largest padding share, and the one with the most canvas pixels.

    Raises:
        PlanError: as for `measure_waste`, or the plan has no micro-batch.
    """
    real, canvas = _pixels(plan, sizes)
    if not len(real):
        raise PlanError("this plan has no micro-batches, so none is the worst")
    shares = 1 - real / canvas
    padded, largest = int(np.argmax(shares)), int(np.argmax(canvas))
    return WorstMicroBatches(
        plan.micro_batch(padded), float(shares[padded]), plan.micro_batch(largest), int(canvas[largest])
    )


def usual_ways(sizes: npt.ArrayLike, batch_size: int, *, seed: int = 0, side: int | None = None) -> UsualWays:
    """Measure what the usual ways of batching would waste or distort.

    Args:
        sizes: (N, 2) the (height, width) of each image.
        batch_size: images per random batch; the last one holds the rest.
        seed: of the random batches.
        side: of the square that images are resized to, in pixels, such as 224; without it the side of a
            square with the images' mean area, so that as many pixels are computed as with no padding at all.

    Raises:
        PlanError: the sizes cannot be used, or ``batch_size`` or ``side`` is less than 1.
    """
    checked = check_sizes(sizes)
    batch_size = check_at_least_one("batch_size", batch_size)
    areas = checked[:, 0] * checked[:, 1]
    real_pixels = int(areas.sum())
    height, width = checked.max(axis=0).tolist()
    images, lengths = mixed_steps(len(checked), batch_size, stream_key(seed))
    canvases = np.maximum.reduceat(checked[images], np.cumsum(lengths) - lengths, axis=0)
    if side is None:
        side = max(1, round(float(np.sqrt(areas.mean()))))
    return UsualWays(
        pad_to_largest=Waste(real_pixels, height * width * len(checked)),
        random_batches=Waste(real_pixels, int((canvases[:, 0] * canvases[:, 1] * lengths).sum())),
        square=_square_resize(checked, check_at_least_one("side", side)),
    )


def _square_resize(sizes: Ints, side: int) -> SquareResize:
    areas = sizes[:, 0] * sizes[:, 1]
    distortion = sizes.max(axis=1) / sizes.min(axis=1)
    square = side * side
    return SquareResize(
        side=side,
        median_distortion=float(np.median(distortion)),
        distorted_share=float((distortion > _NOTICEABLE_DISTORTION).mean()),
        lost_share=float(np.maximum(areas - square, 0).sum() / areas.sum()),
        invented_share=float(np.maximum(square - areas, 0).sum() / (square * len(areas))),
    )


def _pixels(plan: Plan, sizes: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Real and canvas pixels of every micro-batch: two arrays of shape (m,)."""
    checked = check_sizes(sizes)
    indices, lengths, canvases = plan.indices(), plan.lengths(), plan.canvases()
    if not len(indices):
        return lengths, lengths
    last = int(indices.max())
    if last >= len(checked):
        raise PlanError(
            f"the plan has image {last}, and there are sizes of {len(checked)} images only",
            hint="give the sizes that the plan was made from",
        )
    areas = checked[:, 0] * checked[:, 1]
    real = np.add.reduceat(areas[indices], np.cumsum(lengths) - lengths)
    return real, canvases[:, 0] * canvases[:, 1] * lengths
