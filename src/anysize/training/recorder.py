"""Writes what happens into the run folder: table, events, TensorBoard, figures and previews."""

import csv
import io
import time
from typing import Any

import numpy as np
from PIL import Image

from anysize.atomic import write_text
from anysize.console import Console
from anysize.inference.classify import Classified
from anysize.reporting.preview import PreviewItem, draw_preview
from anysize.training.progress import EpochRow, RunProgress
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup

__all__ = ["Recorder"]

_NUM_PREVIEWS = 12

_COLUMNS = ("epoch", "train loss", "train acc", "val loss", "val acc", "lr", "Mpx/s", "padding", "wait", "time")


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
        self._preview_indices = choose_previews(setup.val.table.sizes, setup.config.seed)
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
        self._console.say("  ".join(f"{column:>10}" for column in _COLUMNS))

    def epoch(self, progress: RunProgress, results: Classified) -> None:
        """Record a finished epoch, the last row of ``progress``."""
        row = progress.rows[-1]
        self._console.say(_table_line(row, is_best=progress.best_epoch == len(progress.rows)))
        self.write_metrics(progress)
        self.event("epoch", **row)
        number = int(row["epoch"])
        sheet = self._folder.previews / f"epoch_{number:03d}.png"
        draw_preview(sheet, self._preview_items(results), title=f"epoch {number}: fixed validation images")
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
        writer = csv.DictWriter(text, fieldnames=list(progress.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.rows)
        write_text(self._folder.metrics, text.getvalue())

    def figures(self, progress: RunProgress, best: Classified | None) -> None:
        """Draw the curves, and the confusion matrix of the best weights."""
        from anysize.reporting.confusion import draw_confusion
        from anysize.reporting.curves import draw_curves

        if progress.rows:
            draw_curves(self._folder.plots / "curves.png", progress.rows, best=progress.best_epoch)
        if best is not None:
            classes = self._setup.card.classes
            draw_confusion(self._folder.plots / "confusion.png", best.confusion.counts, classes)

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()

    def _preview_items(self, results: Classified) -> list[PreviewItem]:
        classes = self._setup.card.classes
        items = []
        for index in self._preview_indices:
            prediction = int(results.predictions[index])
            items.append(
                PreviewItem(
                    image=self._setup.val.load(index),
                    name=self._setup.val.table.paths[index],
                    truth=classes[int(results.labels[index])],
                    prediction=classes[prediction],
                    confidence=float(results.probabilities[index, prediction]),
                )
            )
        return items


def choose_previews(sizes: np.ndarray[Any, np.dtype[np.int64]], seed: int) -> list[int]:
    """Choose the images to show each epoch: the smallest, the largest, and others at random.

    Args:
        sizes: (N, 2) of all validation images.
        seed: of the choice.
    """
    areas = sizes.prod(axis=1)
    ends = list(dict.fromkeys((int(areas.argmin()), int(areas.argmax()))))
    others = [int(i) for i in np.random.default_rng(seed).permutation(len(areas)) if int(i) not in ends]
    return [ends[0], *others[: _NUM_PREVIEWS - len(ends)], *ends[1:]]


def _table_line(row: EpochRow, *, is_best: bool) -> str:
    cells = (
        f"{row['epoch']:.0f}",
        f"{row['train_loss']:.4f}",
        f"{row['train_accuracy']:.2%}",
        f"{row['val_loss']:.4f}",
        f"{row['val_accuracy']:.2%}",
        f"{row['lr']:.2e}",
        f"{row['mpx_per_s']:.2f}",
        f"{row['padding_share']:.1%}",
        f"{row['wait_share']:.1%}",
        f"{row['seconds']:.1f}s",
    )
    return "  ".join(f"{cell:>10}" for cell in cells) + ("  best" if is_best else "")
