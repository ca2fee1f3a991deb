"""Masks that lie beside their images, are mirrored, or belong to others; one mask for several images."""

from collections import Counter
from collections.abc import Iterator

from anysize.data.problems import listed
from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK"]


def _run(survey: Survey) -> Iterator[Finding]:
    yield from survey.pairing
    uses = Counter(mask for part in survey.parts for mask in part.table.masks or ())
    shared = tuple(mask for mask, count in uses.items() if count > 1)
    if shared:
        images = sum(uses[mask] for mask in shared)
        yield Finding(
            "pairing",
            "warning",
            f"{number(len(shared), 'mask file')} for {number(images, 'image')}: {listed(shared, 3)}",
            "a mask for each image",
            "name each image's own mask; one mask is right only where nothing moves from image to image",
            shared,
        )


CHECK = DataCheck("pairing", 38, _run)
