"""What a person reads while a command works: lines and progress bars on standard error.

Standard output is left to results. Without a terminal there are no bars; NO_COLOR is honoured.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

__all__ = ["Bar", "Console"]


class Console:
    """Writes to standard error, or nowhere.

    Args:
        quiet: write nothing but warnings.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._rich = RichConsole(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._quiet = quiet

    def say(self, line: str = "") -> None:
        """Write a line."""
        if not self._quiet:
            self._rich.print(line, markup=False)

    def warn(self, line: str) -> None:
        """Write a line that should not be missed."""
        self._rich.print(f"warning: {line}", style="yellow", markup=False)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator["Bar"]:
        """Show a progress bar with the time that remains."""
        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[info]}", markup=False),
            console=self._rich,
            transient=True,
            disable=self._quiet or not self._rich.is_terminal,
        )
        with progress:
            yield Bar(progress, progress.add_task(label, total=total, info=""))


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, count: int, info: str | None = None) -> None:
        """Count further items as done, and change the text behind the bar."""
        fields = {} if info is None else {"info": info}
        self._progress.update(self._task, advance=count, **fields)  # type: ignore[arg-type]

    def set(self, done: int, total: int) -> None:
        """Say how many items of how many are done."""
        self._progress.update(self._task, completed=done, total=total)
