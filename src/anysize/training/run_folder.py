"""What lies where in a run folder."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from anysize.console import Console
from anysize.errors import UsageError

__all__ = ["RunFolder"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths in the folder of one training run."""

    root: Path

    @property
    def config(self) -> Path:
        """All options of the run, resolved."""
        return self.root / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.root / "metrics.csv"

    @property
    def events(self) -> Path:
        """One JSON object a line: what happened and when."""
        return self.root / "events.jsonl"

    @property
    def best_weights(self) -> Path:
        """The weights of the best epoch, with their card beside them."""
        return self.root / "weights" / "best.safetensors"

    @property
    def last_weights(self) -> Path:
        """The weights of the last epoch, with their card beside them."""
        return self.root / "weights" / "last.safetensors"

    @property
    def checkpoint(self) -> Path:
        """All that is needed to go on."""
        return self.root / "checkpoints" / "last.safetensors"

    @property
    def previews(self) -> Path:
        """A sheet of fixed validation images with their predictions, each epoch."""
        return self.root / "previews"

    @property
    def plots(self) -> Path:
        """Figures."""
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.root / "tensorboard"

    @property
    def left_out(self) -> Path:
        """Files that do not take part, each with its reason."""
        return self.root / "left_out.csv"

    @property
    def lock(self) -> Path:
        """An empty file that the process which trains here holds locked."""
        return self.root / ".lock"

    @property
    def split(self) -> Path:
        """Which images were trained on, and which were held out."""
        return self.root / "split.csv"

    def require_free(self) -> None:
        """Check that a new run can be written here.

        Raises:
            UsageError: the folder exists and holds something.
        """
        if self.root.exists() and not (
            self.root.is_dir() and {path.name for path in self.root.iterdir()} <= {self.lock.name}
        ):
            raise UsageError(
                f"the run folder {self.root} exists and is not empty",
                hint=f"go on with it by --resume {self.root}, or choose another --output",
            )

    def create(self) -> None:
        """Make the folder.

        Raises:
            UsageError: it exists and holds something.
        """
        self.require_free()
        self.root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self, console: Console) -> Iterator[None]:
        """Keep the folder to this process: two that write to it would mix their rows and checkpoints.

        The operating system lets go of it when the process ends, however it ends; the empty file ``.lock`` that stays
        means nothing by itself. Where the file system knows no locks, that is said, and the run goes on.

        Raises:
            UsageError: another process trains in it now, or there is no such folder.
        """
        if not self.root.is_dir():
            raise UsageError(
                f"there is no run in {self.root}", hint="--resume takes the folder of a run that was started before"
            )
        # Never a lock that is the file itself: it would stay behind a process that was killed, and go with a copy.
        lock = FileLock(self.lock, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another process is training in the run folder {self.root}",
                hint="wait until it has ended, or stop it (Ctrl-C saves); then --resume goes on",
            ) from None
        except (NotImplementedError, OSError) as error:
            console.warn(f"{self.root} cannot be locked ({error}): see that no other process trains in it")
        try:
            yield
        finally:
            lock.release()

    def log_event(self, kind: str, time: float, content: Mapping[str, Any]) -> None:
        """Append a line to the events: what happened (``kind``), when (seconds since 1970) and its particulars."""
        line = {"time": round(time, 3), "event": kind, **content}
        # JSON has no NaN and no infinity (the validation loss of a network that has run away).
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in line.items()
        }
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")

    @classmethod
    def numbered(cls, parent: Path, stem: str) -> "RunFolder":
        """Return the first of ``stem``, ``stem-2``, ``stem-3`` ... in ``parent`` that does not exist."""
        number = 1
        while True:
            root = parent / (stem if number == 1 else f"{stem}-{number}")
            if not root.exists():
                return cls(root)
            number += 1
