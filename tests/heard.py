"""A console that keeps what a run says."""

from pathlib import Path
from typing import Any

from anysize.console import Console
from anysize.training.setup import Setup, set_up
from toy import quick_segmenter


class Heard(Console):
    """Lines and warnings, in order."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str = "") -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.lines.append(line)

    def starting(self, start: str) -> list[str]:
        """The lines that begin so."""
        return [line for line in self.lines if line.startswith(start)]


def segmenter(data: Path, **changes: Any) -> tuple[Setup, Heard]:
    """What a run of these options begins with, and what it says."""
    console = Heard()
    return set_up(quick_segmenter(data, None, **changes), console), console
