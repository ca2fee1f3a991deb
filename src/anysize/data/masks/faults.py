"""What can be wrong with label masks: each finding with what was found, what is required and the fix."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anysize.data.problems import printable
from anysize.errors import DataError

__all__ = ["MaskProblem", "refuse_masks"]

_MOST_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class MaskProblem:
    """One thing that is wrong with some of the masks.

    Args:
        kind: a word for programs, such as "color", "foreground_255", "size".
        severity: an error stops `load_data`; a warning becomes one of its notes.
        found: what was found, a clause without a full stop.
        expected: what is required, a clause without a full stop.
        fix: what to do, with flags as they are typed; computed from the data.
        paths: the masks that it concerns, relative to the root.
        details: for each of ``paths`` what is wrong with it, in few words; empty where ``found`` says all.
    """

    kind: str
    severity: Literal["error", "warning"]
    found: str
    expected: str
    fix: str
    paths: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.found}; {self.expected}"

    def listed(self, most: int = _MOST_LISTED) -> str:
        """The masks, one a line and indented; beyond ``most`` only their number."""
        lines = [f"    {printable(path)}" for path in self.paths[:most]]
        if self.details:
            lines = [f"{line}: {detail}" for line, detail in zip(lines, self.details, strict=False)]
        if len(self.paths) > most:
            lines.append(f"    ... and {len(self.paths) - most} more")
        return "\n".join(lines)


def refuse_masks(root: Path, problems: Sequence[MaskProblem]) -> None:
    """Raise one error for all problems that are errors.

    Raises:
        DataError: there are some.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    parts = [f"  {problem}\n{problem.listed()}".rstrip("\n") for problem in errors]
    fixes = list(dict.fromkeys(problem.fix for problem in errors))
    raise DataError(
        f"the label masks of {root} cannot be used as they are:\n" + "\n".join(parts), hint="\n  ".join(fixes)
    )
