"""Files that cannot be read, and files that nobody takes."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from anysize.data.problems import FileProblem, printable
from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK"]


_MOST_REASONS = 4
# Documents are meant to lie beside images; their being unused tells nobody anything.
_DOCUMENTS = frozenset(
    [".txt", ".md", ".rst", ".pdf", ".html", ".json", ".xml", ".yaml", ".yml", ".csv", ".tsv", ".log", ".py", ".cff"]
)
_DOCUMENT_NAMES = frozenset(["readme", "license", "licence", "copying", "notice", "changelog", "authors"])


def _run(survey: Survey) -> Iterator[Finding]:
    if survey.unreadable:
        count = len(survey.unreadable)
        yield Finding(
            "files",
            "error",
            f"{number(count, 'file')} cannot be read: {_reasons(survey.unreadable)}",
            "files that decode to their end",
            "repair or delete them; --skip-unreadable trains without the images, and lists every one",
            tuple(problem.path for problem in survey.unreadable),
        )
    unused = [problem for problem in survey.unused if not _is_document(problem.path)]
    if unused:
        count = len(unused)
        yield Finding(
            "files",
            "note",
            f"{number(count, 'file')} of the folder {'is' if count == 1 else 'are'} not used: {_reasons(unused)}",
            "",
            "",
            tuple(problem.path for problem in unused),
        )


def _reasons(problems: Sequence[FileProblem]) -> str:
    """Each reason with its count, or with its file where it is the only one."""
    found: dict[str, list[str]] = {}
    for problem in problems:
        found.setdefault(problem.reason, []).append(problem.path)
    order = sorted(found, key=lambda reason: -len(found[reason]))
    words = [
        f"{printable(found[reason][0]) if len(found[reason]) == 1 else f'{len(found[reason]):,} files'} ({reason})"
        for reason in order[:_MOST_REASONS]
    ]
    more = len(order) - _MOST_REASONS
    return "; ".join(words) + (
        f"; and {number(more, 'other reason')} (--json and the page list all files)" if more > 0 else ""
    )


def _is_document(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix.lower() in _DOCUMENTS or name.stem.lower() in _DOCUMENT_NAMES


CHECK = DataCheck("files", 20, _run)
