"""What a person reads while a command works: lines and progress bars on standard error.

Standard output is left to results. Without a terminal (a log file, a cluster's queue) a line a minute takes the place
of a bar; NO_COLOR is honoured.
"""

import time
from collections.abc import Callable, Iterator
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

_SECONDS_A_LINE = 60.0


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
        """Show a progress bar with the time that remains; without a terminal, a line a minute."""
        has_bar = self._rich.is_terminal
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
            disable=self._quiet or not has_bar,
        )
        with progress:
            task = progress.add_task(label, total=total, info="")
            yield Bar(progress, task, None if has_bar or self._quiet else self.say)


class Bar:
    """A running progress bar, or what takes its place.

    Args:
        progress: that shows it.
        task: its place there.
        say: writes a line a minute; None where the bar can be seen.
    """

    def __init__(self, progress: Progress, task: TaskID, say: Callable[[str], None] | None) -> None:
        self._progress = progress
        self._task = task
        self._say = say
        self._said_at = time.monotonic()

    def advance(self, count: int, info: str | None = None) -> None:
        """Count further items as done, and change the text behind the bar."""
        fields = {} if info is None else {"info": info}
        self._progress.update(self._task, advance=count, **fields)  # type: ignore[arg-type]
        self._say_at_times()

    def set(self, done: int, total: int) -> None:
        """Say how many items of how many are done."""
        self._progress.update(self._task, completed=done, total=total)
        self._say_at_times()

    def _say_at_times(self) -> None:
        if self._say is None or time.monotonic() - self._said_at < _SECONDS_A_LINE:
            return
        self._said_at = time.monotonic()
        task = self._progress.tasks[0]
        of = f"/{task.total:.0f}" if task.total else ""
        self._say(f"{task.description}  {task.completed:.0f}{of}  {task.fields['info']}".rstrip())
