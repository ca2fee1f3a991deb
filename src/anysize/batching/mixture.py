"""How far a plan is from uniform draws: which images share a step, and how often the same ones do."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anysize.batching.limits import check_sizes
from anysize.batching.noise import permutation
from anysize.batching.plan import Plan
from anysize.batching.segments import Floats, Ints
from anysize.errors import PlanError

__all__ = ["Mixture", "measure_mixture", "meeting_again"]

_BINS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The pairs of images that share a step, beside all pairs of the data set.

    The distance of two images is that of their ranks, as a share of the data set: 0 for neighbours, 1 for the
    smallest and the largest.

    Attributes:
        area: mean distance in rank of area between images of a step, over that of any two images: 1 for
            uniform draws, 0 where all images of a step have the same area.
        aspect: likewise for height / width.
        area_shares: (20,) share of the pairs at distances 0-0.05, 0.05-0.1, ... in rank of area.
        uniform_shares: (20,) the same for any two images: what uniform draws would give.
    """

    area: float
    aspect: float
    area_shares: Floats
    uniform_shares: Floats


def measure_mixture(plan: Plan, sizes: npt.ArrayLike) -> Mixture:
    """Measure how alike in size the images of a step are.

    Args:
        plan: of all images; `Plan.joined` makes one of the pools of a stream.
        sizes: (N, 2) the (height, width) of each image.

    Raises:
        PlanError: the plan is not of all these images, or no two of them share a step.
    """
    checked = check_sizes(sizes)
    steps = _steps(plan, len(checked))
    areas = _ranks(checked[:, 0] * checked[:, 1])
    aspects = _ranks(checked[:, 0] / checked[:, 1])
    pairs = _pairs(steps)
    if not len(pairs):
        raise PlanError("no two images share a step of this plan", hint="plan with a batch size of 2 or more")
    distances = np.abs(areas[pairs[:, 0]] - areas[pairs[:, 1]])
    aspect_distances = np.abs(aspects[pairs[:, 0]] - aspects[pairs[:, 1]])
    return Mixture(
        area=float(distances.mean() / _mean_distance(areas)),
        aspect=float(aspect_distances.mean() / _mean_distance(aspects)),
        area_shares=_shares(distances),
        uniform_shares=_uniform_shares(areas),
    )


def meeting_again(one: Plan, other: Plan) -> float:
    """How much more often two images that share a step in one epoch share one in another than by chance: 1 is chance.

    Raises:
        PlanError: the plans are of different images, or no two share a step.
    """
    num_images = one.num_images
    if num_images != other.num_images:
        raise PlanError(f"one plan holds {num_images} images and the other {other.num_images}; they must hold the same")
    first, second = _steps(one, num_images), _steps(other, num_images)
    both = np.unique(first * (int(second.max()) + 1) + second, return_counts=True)[1]
    together, once, again = (
        float((counts * (counts - 1) / 2).sum()) for counts in (both, np.bincount(first), np.bincount(second))
    )
    if not once or not again:
        raise PlanError("no two images share a step of these plans", hint="plan with a batch size of 2 or more")
    return together / once / (again / (num_images * (num_images - 1) / 2))


def _steps(plan: Plan, num_images: int) -> Ints:
    """(N,) the step of each image."""
    if not isinstance(plan, Plan):
        raise PlanError(
            f"a {type(plan).__name__} was given; a Plan is needed",
            hint="Plan.joined(list(stream.plans())) is the plan of a whole stream",
        )
    indices = plan.indices()
    if len(indices) != num_images or not np.array_equal(np.sort(indices), np.arange(num_images)):
        raise PlanError(
            f"the plan holds {len(indices)} images, and not each of {num_images} once",
            hint="give the whole plan of an epoch, of all ranks, and the sizes that it was made from",
        )
    steps = np.empty(num_images, dtype=np.int64)
    steps[indices] = plan.step_of_images()
    return steps


def _ranks(values: npt.NDArray[np.number]) -> Floats:
    """(N,) ranks from 0 to 1; equal values share the middle of theirs."""
    ordered = np.sort(values)
    low, high = np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right") - 1
    return np.asarray((low + high) / (2.0 * max(len(values) - 1, 1)))


def _pairs(steps: Ints) -> Ints:
    """(p, 2) images that share a step: each with those 1, 2, 4, ... places from it, all places being drawn at random.

    All pairs of large batches would be billions.
    """
    shuffled = permutation(0, len(steps))
    order = shuffled[np.argsort(steps[shuffled], kind="stable")]
    ordered = steps[order]
    found = []
    shift = 1
    while shift < len(order):
        same = np.flatnonzero(ordered[shift:] == ordered[:-shift])
        if not len(same):
            break
        found.append(np.stack([order[same], order[same + shift]], axis=1))
        shift *= 2
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)


def _mean_distance(ranks: Floats) -> float:
    """Mean distance of any two of them."""
    ordered = np.sort(ranks)
    count = len(ordered)
    weights = 2.0 * np.arange(count) - count + 1
    return max(float((ordered * weights).sum()) / max(count * (count - 1) / 2, 1), 1e-12)


def _shares(distances: Floats) -> Floats:
    counts = np.histogram(distances, bins=_BINS, range=(0, 1))[0]
    return np.asarray(counts / max(len(distances), 1))


def _uniform_shares(ranks: Floats) -> Floats:
    """The distances of pairs that have nothing to do with each other: each image with those a fixed stride away."""
    shuffled = ranks[permutation(0, len(ranks))]
    strides = range(1, min(len(ranks), 17))
    return _shares(np.concatenate([np.abs(shuffled - np.roll(shuffled, stride)) for stride in strides] or [ranks[:0]]))
