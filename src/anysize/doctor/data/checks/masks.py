"""What the reader of masks says: another size than the image's, colours, values beyond the classes, EXIF, JPEG."""

from collections.abc import Iterator

from anysize.data.masks.faults import MaskProblem
from anysize.data.problems import printable
from anysize.doctor.data.checks import DataCheck
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK"]

_MOST_DETAILS = 3


def _run(survey: Survey) -> Iterator[Finding]:
    for problem in survey.mask_problems:
        yield Finding(
            "mask-" + problem.kind.replace("_", "-"),
            problem.severity,
            problem.found + _details(problem),
            problem.expected,
            problem.fix,
            problem.paths,
        )


def _details(problem: MaskProblem) -> str:
    """What is wrong with the first of the files, where that differs from file to file."""
    if not problem.details:
        return ""
    told = [
        f"{printable(path)}: {detail}"
        for path, detail in zip(problem.paths[:_MOST_DETAILS], problem.details, strict=False)
    ]
    more = len(problem.details) - _MOST_DETAILS
    return " (" + "; ".join(told) + (f"; and {more:,} more" if more > 0 else "") + ")"


CHECK = DataCheck("masks", 30, _run)
