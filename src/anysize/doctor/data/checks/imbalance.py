"""Classes with few examples, or far fewer than others."""

from collections.abc import Iterator

import numpy as np

from anysize.data.problems import listed
from anysize.doctor.data.checks import DataCheck, number, share
from anysize.doctor.data.checks.classes import is_named_as_none
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK", "FEW_IMAGES", "MOST_RATIO", "SMALL_SHARE"]

FEW_IMAGES = 5
"""A class in fewer training images than this is rare."""
SMALL_SHARE = 0.001
"""A class with a smaller share of the labelled training pixels than this is tiny."""
MOST_RATIO = 100
"""Classes whose pixels (or images) differ by more than this factor are out of balance."""

_MORE_OFTEN = "--see patches --patches class"


def _run(survey: Survey) -> Iterator[Finding]:
    counts = survey.class_counts("train")[:-1]
    images = survey.images_with("train")
    # What should be ignored is told so, and is not to be labelled more.
    present = np.array(
        [index for index in np.flatnonzero(counts).tolist() if not is_named_as_none(survey, index)], np.int64
    )
    if len(present) < 2:
        return
    of = "pixels" if survey.task == "segment" else "images"
    rare = [f"{survey.classes[index]} ({int(images[index])})" for index in present if images[index] < FEW_IMAGES]
    train = survey.part("train")
    if rare and train is not None and len(train.table) >= 2 * FEW_IMAGES:
        yield Finding(
            "rare-classes",
            "warning",
            f"{number(len(rare), 'class', 'classes')} in fewer than {FEW_IMAGES} training images: {listed(rare, 24)}",
            f"{FEW_IMAGES} images or more of each class",
            "label more images of them, or merge them with a class that looks alike",
        )
    total = int(counts.sum())
    if survey.task == "segment":
        tiny = [
            f"{survey.classes[index]} ({share(int(counts[index]), total)})"
            for index in present
            if counts[index] < SMALL_SHARE * total
        ]
        if tiny:
            yield Finding(
                "rare-classes",
                "note",
                f"{number(len(tiny), 'class', 'classes')} with less than {100 * SMALL_SHARE:g} % of the labelled "
                f"training pixels: {listed(tiny, 24)}",
                "",
                f"{_MORE_OFTEN} looks at them more often",
            )
    most, least = present[np.argmax(counts[present])], present[np.argmin(counts[present])]
    ratio = counts[most] / counts[least]
    if ratio > MOST_RATIO:
        yield Finding(
            "imbalance",
            "warning",
            f"{listed([survey.classes[most]])} has {ratio:,.0f} times the {of} of {listed([survey.classes[least]])} in "
            f"training ({share(int(counts[most]), total)} and {share(int(counts[least]), total)})",
            f"a factor of {MOST_RATIO} at most, or a loss that makes up for it",
            f"--class-weights balanced, or {_MORE_OFTEN}" if survey.task == "segment" else "--class-weights balanced",
        )


CHECK = DataCheck("imbalance", 50, _run)
