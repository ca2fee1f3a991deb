"""What is wrong with a file, and how many such findings are told in one message."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FileProblem", "describe", "listed", "printable"]

_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One file and what is to be said about it.

    Args:
        path: the file as it is known to whoever asked: relative to the data's root (posix), or as given.
        reason: a plain phrase without the path and without a full stop.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


def printable(text: str) -> str:
    r"""``text`` with what a terminal or a log cannot show written as escapes.

    File names may hold line breaks, terminal escapes or bytes that are no UTF-8; a message must survive them.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names for a sentence, capped.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(printable(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def describe(problems: Sequence[FileProblem], *, most: int = _MOST_LISTED) -> str:
    """The findings, one a line and indented; beyond ``most`` only their number."""
    lines = [f"  {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  ... and {len(problems) - most} more")
    return "\n".join(lines)
