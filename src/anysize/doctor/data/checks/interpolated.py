"""Masks whose borders were blurred: resized with interpolation, or smoothed, rather than by nearest neighbour."""

from collections import Counter
from collections.abc import Iterator

from anysize.data.masks.coding import IGNORED, UNKNOWN
from anysize.data.problems import printable
from anysize.doctor.data.checks import DataCheck, number, share
from anysize.doctor.data.survey import Pair, Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK", "MOST_RAMPS"]

MOST_RAMPS = 0.15
"""Of all places where the value changes along a row, so many may go on in the same direction to the next pixel. Masks
drawn by people have below 0.01, interpolated ones from 0.35 on."""
_FEWEST_STEPS = 60
_MOST_OF_THEM = 0.9
"""Of the ramps, so many run through one value where that is an outline: around cells, or in trimaps of pets."""


def _run(survey: Survey) -> Iterator[Finding]:
    if any(
        problem.kind in ("interpolated", "lossy") and problem.severity == "error" for problem in survey.mask_problems
    ):
        return  # told already, with the values
    blurred = [
        pair
        for pair in survey.pairs
        if pair.look.num_steps >= _FEWEST_STEPS and pair.look.num_ramps > MOST_RAMPS * pair.look.num_steps
    ]
    if not blurred:
        return
    steps = sum(pair.look.num_steps for pair in blurred)
    ramps = sum(pair.look.num_ramps for pair in blurred)
    outline = _outline(survey, blurred, ramps)
    if outline is not None:
        if any(problem.kind == "interpolated" for problem in survey.mask_problems):
            return  # the reader of masks says the same, and as a warning, too
        yield Finding(
            "interpolated-masks",
            "warning",
            f"the value {outline[0]} ({outline[1]}) lies between two others wherever borders run through intermediate "
            f"values, in {number(len(blurred), 'mask')} ({share(ramps, steps)} of the steps along a row)",
            "a class that is an outline is so; masks that were resized smoothly are so, too",
            f"if {outline[1]} is no outline, make the masks again from their source, with nearest neighbour",
            tuple(pair.path for pair in blurred),
        )
        return
    yield Finding(
        "interpolated-masks",
        "error",
        f"borders run through intermediate values in {number(len(blurred), 'mask')}: {share(ramps, steps)} of the "
        "steps along a row go on to the next pixel, as interpolation or smoothing leaves them; these borders are "
        "labelled with classes that are not there",
        f"hard borders (below {100 * MOST_RAMPS:.0f} %)",
        "make the masks again from their source, with nearest neighbour: "
        "mask.resize(size, PIL.Image.Resampling.NEAREST); anysize needs no resized masks, it reads native sizes",
        tuple(pair.path for pair in blurred),
    )


def _outline(survey: Survey, blurred: list[Pair], ramps: int) -> tuple[int, str] | None:
    """The one value, with the class that it names, that nearly all of the ramps run through."""
    total: Counter[int] = Counter()
    for pair in blurred:
        total.update(dict(pair.look.ramp_values))
    if not total or survey.coding is None or survey.coding.colors is not None:
        return None
    value, count = total.most_common(1)[0]
    label = survey.coding.class_of(value)
    if label in (IGNORED, UNKNOWN) or count < _MOST_OF_THEM * ramps:
        return None
    return value, printable(survey.classes[label])


CHECK = DataCheck("interpolated-masks", 32, _run)
