"""What `anysize doctor learn` leaves in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anysize import reporting
from anysize.errors import UsageError
from anysize.metrics import ConfusionMatrix
from anysize.reporting.segmentation import OverlayItem, draw_overlay_sheet
from anysize.training.learn_config import LearnConfig
from anysize.training.preflight import diagnose
from toy import QUIET, quick, quick_segmenter, write_shapes


def learn_config(data: Path, output: Path) -> LearnConfig:
    options = quick_segmenter(
        data, output, model_kwargs=("encoder_width=0.125", "channels=[8,8,8,8,8]"), batch_norm="group"
    )
    return LearnConfig(**{name: getattr(options, name) for name in options.given}, images=3)


def mask_of(image: Path) -> Path:
    return image.parents[1] / "SegmentationClass" / f"{image.stem}.png"


def test_the_report_and_what_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets: list[tuple[OverlayItem, ...]] = []

    def drawn(path: Path, items: Sequence[OverlayItem], *more: Any, **keywords: Any) -> None:
        sheets.append(tuple(items))
        draw_overlay_sheet(path, items, *more, **keywords)

    monkeypatch.setattr(reporting.segmentation, "draw_overlay_sheet", drawn)
    shapes, folder = write_shapes(tmp_path / "voc", count=8, sides=(64, 72), val=2), tmp_path / "why"
    report = diagnose(learn_config(shapes, folder), console=QUIET)
    assert sorted(path.name for path in folder.iterdir()) == ["learn.json", "learn.png"]
    assert json.loads((folder / "learn.json").read_text()) == report.to_json()
    assert len(sheets) == 1
    assert len(sheets[0]) == len(report.handful) == 3
    matrix = ConfusionMatrix(3)
    for item, learned in zip(sheets[0], report.handful, strict=True):
        with Image.open(shapes / item.name) as image, Image.open(mask_of(shapes / item.name)) as mask:
            pixels, labels = np.array(image), np.array(mask)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, item.image.shape)[:, :, 0]
        places = np.argwhere((windows == item.image).all(axis=(2, 3, 4)))
        assert len(places) == 1  # the very pixels, normalised and back
        (top, left), (height, width) = places[0], item.image.shape[:2]
        assert item.truth is not None
        assert item.prediction is not None
        assert np.array_equal(item.truth, labels[top : top + height, left : left + width])
        assert np.array_equal(item.prediction, learned.prediction.numpy())
        matrix.update_map(item.truth, item.prediction)
    assert matrix.mean_iou == pytest.approx(report.mean_iou)
    with pytest.raises(UsageError, match="exists and is not empty"):
        diagnose(learn_config(shapes, folder), console=QUIET)


def test_of_a_classifier_the_report_alone(stripes: Path, tmp_path: Path) -> None:
    options = quick(stripes, tmp_path / "why")
    diagnose(LearnConfig(**{name: getattr(options, name) for name in options.given}), console=QUIET)
    assert [path.name for path in (tmp_path / "why").iterdir()] == ["learn.json"]
