"""What the checks of a data set have found, all together."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anysize.doctor.data.survey import Survey
from anysize.doctor.data.tables import class_rows, label_values, pixel_statistics, size_bins, split_rows
from anysize.doctor.finding import SEVERITIES, Finding

__all__ = ["DataReport"]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """A survey and its findings, the most severe first."""

    survey: Survey
    findings: tuple[Finding, ...]
    strict: bool = False
    """Warnings count as errors do."""
    sheet: Path | None = None
    """Where the sheet of overlays is."""
    page: Path | None = None
    """Where the page is."""

    @property
    def counts(self) -> dict[str, int]:
        """Findings of each severity."""
        return {name: sum(finding.severity == name for finding in self.findings) for name in SEVERITIES}

    @property
    def ok(self) -> bool:
        """Whether nothing stands against training; with ``strict`` no warning either."""
        counts = self.counts
        return not counts["error"] and not (self.strict and counts["warning"])

    @property
    def verdict(self) -> str:
        """One line: how many findings, and what follows from them."""
        counts = self.counts
        words = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
        found = ", ".join(words) if words else "nothing found"
        if counts["error"]:
            return f"{found}: repair the errors before training."
        if not self.ok:
            return f"{found}: --strict refuses warnings."
        if self.survey.task == "none":
            return f"{found}: images to predict; for training they need labels."
        return f"{found}: nothing stands against training."

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; lists of files are whole."""
        survey = self.survey
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "data": str(survey.root),
            "layout": survey.layout,
            "task": survey.task,
            "has_own_split": survey.has_own_split,
            "num_images": survey.num_images,
            "num_images_looked_at": len(survey.seen),
            "num_masks_looked_at": len(survey.pairs),
            "num_pairs_laid_on_each_other": survey.num_paired,
            "splits": [dataclasses.asdict(row) for row in split_rows(survey)],
            "sizes": [dataclasses.asdict(item) for item in size_bins(survey)],
            "classes": [dataclasses.asdict(row) for row in class_rows(survey)],
            "label_values": label_values(survey),
            "pixels": pixel_statistics(survey),
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(survey.notes),
            "sheet": None if self.sheet is None else str(self.sheet),
            "page": None if self.page is None else str(self.page),
        }
