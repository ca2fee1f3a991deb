"""Masks whose borders were blurred: resized with interpolation, or smoothed, rather than by nearest neighbour."""

from collections.abc import Iterator

from anysize.doctor.data.checks import DataCheck, number, share
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK", "MOST_RAMPS"]

MOST_RAMPS = 0.15
"""Of all places where the value changes along a row, so many may go on in the same direction to the next pixel. Masks
drawn by people have below 0.01, interpolated ones from 0.35 on."""
_FEWEST_STEPS = 60


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


CHECK = DataCheck("interpolated-masks", 32, _run)
