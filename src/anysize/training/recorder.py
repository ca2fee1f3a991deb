"""Writes what happens into the run folder: table, events, TensorBoard, figures and previews."""

import csv
import io
import time
from typing import Any

import numpy as np
from PIL import Image

from anysize.atomic import write_text
from anysize.console import Console
from anysize.training.progress import RunProgress
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup
from anysize.training.tasks import Column

__all__ = ["Recorder"]


_LAST_COLUMNS = (
    Column("lr", "lr", ".2e"),
    Column("Mpx/s", "mpx_per_s", ".2f"),
    Column("padding", "padding_share", ".1%"),
    Column("wait", "wait_share", ".1%"),
    Column("time", "seconds", ".1f"),
    Column("val time", "val_seconds", ".1f"),
)


class Recorder:
    """Keeps the record of one run.

    Args:
        folder: the run folder.
        setup: data, for the previews.
        console: for the table of epochs.
    """

    def __init__(self, folder: RunFolder, setup: Setup, console: Console) -> None:
        self._folder = folder
        self._setup = setup
        self._console = console
        self.previews = choose_previews(setup.val.table.sizes, setup.config.seed, setup.task.num_previews)
        """The validation images that are shown each epoch, by their places."""
        self._columns = (Column("epoch", "epoch", ".0f"), *setup.task.columns, *_LAST_COLUMNS)
        self._writer: Any = None
        if setup.config.tensorboard:
            # Imported here: it takes a second, and runs without it do not pay for it.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder.tensorboard))

    def event(self, kind: str, **content: Any) -> None:
        """Log something that happened."""
        self._folder.log_event(kind, time.time(), content)

    def table_head(self) -> None:
        """Write the head of the table of epochs."""
        self._console.say("  ".join(f"{column.title:>10}" for column in self._columns))

    def epoch(self, progress: RunProgress, results: Any) -> None:
        """Record a finished epoch, the last row of ``progress``."""
        row = progress.rows[-1]
        line = "  ".join(f"{format(row[column.key], column.form):>10}" for column in self._columns)
        self._console.say(line + ("  best" if progress.best_epoch == len(progress.rows) else ""))
        self.write_metrics(progress)
        self.event("epoch", **row)
        number = int(row["epoch"])
        sheet = self._folder.previews / f"epoch_{number:03d}.png"
        self._setup.task.draw_previews(sheet, self._setup, self.previews, results, number)
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(name, value, number)
            with Image.open(sheet) as image:
                pixels = np.asarray(image.convert("RGB"))
            self._writer.add_image("preview", pixels, number, dataformats="HWC")
            self._writer.flush()

    def write_metrics(self, progress: RunProgress) -> None:
        """Write all rows to metrics.csv."""
        text = io.StringIO()
        names = dict.fromkeys(name for row in progress.rows for name in row)  # a resumed run may be of an older version
        writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.rows)
        write_text(self._folder.metrics, text.getvalue())

    def figures(self, progress: RunProgress, best: Any) -> None:
        """Draw the curves, and what the task shows of the best weights (None: they come from an earlier process)."""
        from anysize.reporting.curves import draw_curves

        if progress.rows:
            draw_curves(self._folder.plots / "curves.png", progress.rows, best=progress.best_epoch)
        sheets = [
            (int(sheet.stem.removeprefix("epoch_")), sheet)
            for sheet in sorted(self._folder.previews.glob("epoch_*.png"))
        ]
        if self._setup.task.animates and len(sheets) > 1:
            from anysize.reporting.segmentation import draw_epochs_animation

            draw_epochs_animation(self._folder.previews / "epochs.gif", sheets, self._setup.card.palette)
        if best is not None:
            self._setup.task.draw_figures(self._folder.plots, self._setup, best)

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()


def choose_previews(sizes: np.ndarray[Any, np.dtype[np.int64]], seed: int, count: int) -> list[int]:
    """Choose the images to show each epoch: the smallest, the largest, and others at random.

    Args:
        sizes: (N, 2) of all validation images.
        seed: of the choice.
        count: how many, at most.
    """
    areas = sizes.prod(axis=1)
    ends = list(dict.fromkeys((int(areas.argmin()), int(areas.argmax()))))
    others = [int(i) for i in np.random.default_rng(seed).permutation(len(areas)) if int(i) not in ends]
    return [ends[0], *others[: count - len(ends)], *ends[1:]]
