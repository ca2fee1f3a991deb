"""What a run needs of a task."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from torch import nn

from anysize.inference.parts import Parts
from anysize.inference.requirements import Samples

if TYPE_CHECKING:
    from anysize.training.progress import EpochRow
    from anysize.training.setup import Setup

__all__ = ["Column", "Results", "Task", "task_for"]


class Column(NamedTuple):
    """A column of the table of epochs."""

    title: str
    key: str
    """Of a row."""
    form: str
    """How its value is written."""


class Results(Protocol):
    """What a validation pass came to; each task has more of its own."""

    @property
    def loss(self) -> float:
        """Of all validation images."""


class Task(Protocol):
    """One kind of learning."""

    name: Literal["classify", "segment"]
    metric: str
    """The column of a row that decides which epoch is the best; larger is better."""
    num_previews: int
    """Validation images that are shown each epoch, at most."""
    animates: bool
    """Whether the previews of all epochs make an animation at the end."""
    columns: Sequence[Column]
    """Its own columns of the table."""

    def require_network(self, model: nn.Module, name: str, parts: Sequence[Samples], channels: int) -> None:
        """Check that the network answers the images as the task needs it.

        Raises:
            UsageError: it does not.
        """

    def validate(self, setup: "Setup", previews: Sequence[int], progress: Callable[[int], None], parts: Parts) -> Any:
        """Answer all validation images; keep what is needed to show ``previews``."""

    def row(self, results: Any) -> "EpochRow":
        """The task's own figures of an epoch."""

    def draw_previews(self, path: Path, setup: "Setup", previews: Sequence[int], results: Any, epoch: int) -> None:
        """Draw the sheet of an epoch."""

    def draw_figures(self, folder: Path, setup: "Setup", results: Any) -> None:
        """Draw what there is to see of the best epoch."""

    def collapsed(self, results: Any, setup: "Setup") -> str | None:
        """What is wrong where every image gets the same answer, with the fix; None where all is well."""


def task_for(name: Literal["classify", "segment"]) -> Task:
    """Return the task of this name."""
    modules = {"classify": "classification", "segment": "segmentation"}
    task: Task = importlib.import_module(f"anysize.training.tasks.{modules[name]}").TASK
    return task
