"""Is there something to validate on, and enough of it?"""

import math
from collections.abc import Iterator

from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding, Severity

__all__ = ["CHECK", "FEW_IMAGES"]

FEW_IMAGES = 10
"""Fewer validation images than this make every metric jump by a tenth with one image."""
_HARDLY_ANY = 3


def _run(survey: Survey) -> Iterator[Finding]:
    if survey.task == "none":
        yield Finding(
            "splits",
            "warning",
            f"{number(survey.num_images, 'image')} without labels: they can be predicted, and not trained on",
            "a class for each image, or a mask",
            "sort them into one folder a class, or put masks of the same names into masks/ beside images/",
        )
        return
    val = survey.part("val")
    if val is None or len(val.table) == 0:
        fix = (
            "name images of your own in the validation list of the data, or remove its split: one is drawn then "
            "(--val-split 0.2)"
            if survey.has_own_split
            else "--val-split 0.2"
        )
        yield Finding("splits", "warning", "no image is left for validation", "a split to validate on", fix)
        return
    count = len(val.table)
    if count < FEW_IMAGES:
        severity: Severity = "warning" if count < _HARDLY_ANY else "note"
        total = survey.num_images
        yield Finding(
            "splits",
            severity,
            f"validation has {number(count, 'image')} of {total:,}: its result depends on each single one",
            f"{FEW_IMAGES} images or more",
            _fix(survey),
        )


def _fix(survey: Survey) -> str:
    """More validation images, where there are enough in all."""
    total = survey.num_images
    if survey.has_own_split:
        val = survey.part("val")
        lacking = FEW_IMAGES - (0 if val is None else len(val.table))
        if total < 2 * FEW_IMAGES:
            return "label more images, and put them into both parts"
        return (
            f"move {number(lacking, 'image')} from training to validation, whose classes other training images hold, "
            "too"
        )
    if total < 4 * FEW_IMAGES:
        return "label more images"
    return f"--val-split {math.ceil(100 * FEW_IMAGES / total) / 100:g}"


CHECK = DataCheck("splits", 10, _run)
