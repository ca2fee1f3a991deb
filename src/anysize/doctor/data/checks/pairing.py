"""Masks that lie beside their images, are mirrored, or belong to others."""

from collections.abc import Iterator

from anysize.doctor.data.checks import DataCheck
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK"]


def _run(survey: Survey) -> Iterator[Finding]:
    yield from survey.pairing


CHECK = DataCheck("pairing", 38, _run)
