"""What a check of the doctor hands back: what was found, what was expected, and the fix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["SEVERITIES", "Finding", "Severity", "most_severe_first"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From what makes learning (or a result) impossible, to what is only worth knowing."""
_SHOWN_PATHS = 3


@dataclass(frozen=True)
class Finding:
    """One thing that a check saw.

    >>> print(Finding("values", "error", "masks hold 0 and 255", "class indices 0..1", "--mask-values 0,255"))
    error [values]: masks hold 0 and 255; expected class indices 0..1
    hint: --mask-values 0,255
    """

    check: str
    """Name of the check, in lower case with dashes."""
    severity: Severity
    found: str
    """What there is, with its figures; a phrase without a full stop."""
    expected: str
    """What there should be."""
    fix: str
    """What to type or to change, computed; empty where there is nothing to do."""
    paths: tuple[str, ...] = ()
    """Files that it is about, relative to the data's root; all of them."""

    def __str__(self) -> str:
        """One readable line, and a line with the fix."""
        named = ", ".join(self.paths[:_SHOWN_PATHS])
        more = f" and {len(self.paths) - _SHOWN_PATHS} more" if len(self.paths) > _SHOWN_PATHS else ""
        where = f" ({named}{more})" if named else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        hint = f"\nhint: {self.fix}" if self.fix else ""
        return f"{self.severity} [{self.check}]: {self.found}{where}{expected}{hint}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return {
            "check": self.check,
            "severity": self.severity,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
            "paths": list(self.paths),
        }


def most_severe_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity; within one, as they came."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
