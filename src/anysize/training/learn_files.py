"""What `anysize doctor learn` leaves in a folder: the report, and what the network answered at the end."""

import json

import numpy as np
from numpy.typing import NDArray

from anysize.atomic import write_text
from anysize.data.masks import IGNORED
from anysize.doctor.learn import Learned, LearningReport
from anysize.doctor.learn.case import NO_CLASS
from anysize.loading import Normalisation
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup

__all__ = ["write_learning"]


def write_learning(folder: RunFolder, report: LearningReport, setup: Setup, names: list[str]) -> None:
    """Write ``learn.json`` and, of a segmenter that could be tried, ``learn.png``: image, truth, prediction, errors.

    Args:
        folder: is there already.
        report: of the run's network.
        setup: the run.
        names: of the samples that the report is about, in their order.
    """
    write_text(folder.root / "learn.json", json.dumps(report.to_json(), indent=1) + "\n")
    if setup.task.name != "segment" or not report.handful:
        return
    from anysize.reporting.segmentation import OverlayItem, draw_overlay_sheet

    items = [
        OverlayItem(
            image=_picture(learned, setup.normalisation),
            truth=_labels(learned.truth.cpu().numpy()),
            prediction=_labels(learned.prediction.cpu().numpy()),
            name=names[learned.sample],
        )
        for learned in report.handful
    ]
    title = f"step {len(report.losses)}: windows that were to be learned by heart"
    draw_overlay_sheet(folder.root / "learn.png", items, setup.card.palette, setup.card.classes, title=title)


def _picture(learned: Learned, normalisation: Normalisation) -> NDArray[np.uint8]:
    """The window as it was before it was normalised; (H, W, C) uint8 with 1 or 3 channels."""
    pixels = learned.image.permute(1, 2, 0).cpu().numpy()
    bytes_ = pixels * np.asarray(normalisation.std) + np.asarray(normalisation.mean)
    picture: NDArray[np.uint8] = np.clip(np.rint(bytes_), 0, 255).astype(np.uint8)
    return picture


def _labels(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = np.where(classes == NO_CLASS, IGNORED, classes).astype(np.uint8)
    return labels
