"""Masks without a pixel that counts are refused; an epoch without a number is never the best."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.cli import main
from anysize.errors import DataError
from anysize.stepping.schedules import Plateau
from anysize.training.progress import EpochRow, RunProgress
from anysize.training.run import train
from toy import QUIET, quick_segmenter, write_shapes


def without_labels(root: Path, part: str) -> Path:
    """Shapes, of which one part has nothing but 255."""
    shapes = write_shapes(root / "voc", count=8, val=2)
    for name in (shapes / "ImageSets" / "Segmentation" / f"{part}.txt").read_text().split():
        path = shapes / "SegmentationClass" / f"{name}.png"
        with Image.open(path) as mask:
            blank = np.full_like(np.array(mask), 255)
        Image.fromarray(blank).save(path)
    return shapes


@pytest.mark.parametrize(("part", "name", "count"), [("train", "training", 6), ("val", "validation", 2)])
def test_a_part_without_labels_is_refused_and_nothing_is_written(
    tmp_path: Path, part: str, name: str, count: int
) -> None:
    shapes = without_labels(tmp_path, part)
    with pytest.raises(DataError) as caught:
        train(quick_segmenter(shapes, tmp_path / "run"), console=QUIET)
    assert caught.value.message == (
        f"every pixel of all {count} {name} masks is ignored; pixels of some class are required"
    )
    assert str(shapes) in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("part", "what"), [("train", "learn"), ("val", "judge by")])
def test_the_doctor_says_so_too(tmp_path: Path, part: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(without_labels(tmp_path, part)), "--output", str(tmp_path / "report")]) == 1
    found = capsys.readouterr().out
    assert f"masks of {part} is ignored: nothing to {what}" in found


def test_what_is_no_number_is_never_the_best() -> None:
    def row(metric: float, loss: float) -> EpochRow:
        return {"val_mean_iou": metric, "val_loss": loss}

    nan = float("nan")
    progress = RunProgress(plateau=Plateau(patience=2, factor=0.5), metric="val_mean_iou")
    epochs = ((nan, nan), (nan, 1.0), (0.1, nan), (0.1, 2.0), (nan, 0.1), (0.2, nan))
    taken = [progress.take(row(*one)) for one in epochs]
    assert taken == [True, True, True, True, False, True]
    assert progress.best_epoch == 6
