"""Figures of overlaps: by class, by size and over the epochs."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.metrics import SegmentationScores
from anysize.reporting.curves import Best, best_epoch, draw_curves
from anysize.reporting.segmentation import draw_iou_bars, draw_iou_by_size
from anysize.reporting.segmentation.iou_bars import iou_verdict
from anysize.reporting.segmentation.iou_by_size import iou_size_verdict

Decoded = Callable[[Path], Image.Image]
NAN = math.nan


def widths(pixels: np.ndarray, color: tuple[int, int, int]) -> int:
    """The longest run of rows' dots of one colour: the length of a bar."""
    return int((pixels == color).all(axis=-1).sum(axis=1).max())


def test_bars_are_as_long_as_the_iou_in_the_classes_colours(tmp_path: Path, decoded: Decoded) -> None:
    colors = [(200, 0, 40), (0, 120, 0), (30, 30, 220), (90, 80, 70)]
    draw_iou_bars(tmp_path / "iou.png", ["a", "b", "c", "d"], [0.25, 1.0, 0.5, NAN], [9, 9, 0, 0], colors)
    pixels = np.asarray(decoded(tmp_path / "iou.png"))
    whole = 5.4 * 140  # inches at 140 dots; the edge of a bar and the line of the mean take some
    for color, share in zip(colors, (0.25, 1.0, 0.5, 0.0), strict=True):
        assert widths(pixels, color) == pytest.approx(share * whole, abs=9)
    tops = [int(np.flatnonzero((pixels == color).all(axis=-1).any(axis=1))[0]) for color in colors[:3]]
    assert tops[1] < tops[2] < tops[0], "the best is at the top"


@pytest.mark.parametrize("num_classes", [1, 2, 60])
def test_any_number_of_classes(tmp_path: Path, decoded: Decoded, num_classes: int) -> None:
    random = np.random.default_rng(num_classes)
    classes = [f"猫 $class {k} with a name of many words" for k in range(num_classes)]
    colors = [(k, 255 - k, 0) for k in range(num_classes)]
    draw_iou_bars(tmp_path / "iou.png", classes, random.random(num_classes), random.integers(0, 9, num_classes), colors)
    width, height = decoded(tmp_path / "iou.png").size
    assert width == 1330
    assert height == pytest.approx(140 * (1.95 + 0.27 * num_classes), abs=1)


def test_the_verdict_names_what_is_not_known() -> None:
    assert iou_verdict(["a", "b", "c"], [0.5, 0.7, 0.6]) == "mean IoU 60.0 % over 3 classes"
    assert iou_verdict(["a", "b", "c"], [0.05, 0.7, NAN]) == (
        "mean IoU 37.5 % over 2 classes  ·  below 10 %: a  ·  1 class absent"
    )
    assert iou_verdict(list("abcde"), [0.09, 0.03, 0.0, 0.02, 0.5]) == (
        "mean IoU 12.8 % over 5 classes  ·  below 10 %: c, d, b, …"
    )
    assert iou_verdict(["a"], [NAN]) == "no class occurs"


@pytest.mark.parametrize(
    ("classes", "iou", "counts", "colors", "message"),
    [
        ([], [], [], [], "there are no classes; bars need at least one"),
        (["a"], [0.5, 0.5], [1], [(0, 0, 0)], "IoU of shape (2,) for 1 classes; one a class is needed"),
        (["a"], [0.5], [[1]], [(0, 0, 0)], "counts of shape (1, 1) for 1 classes; one a class is needed"),
        (["a"], [0.5], [1], [], "colours of shape (0,) for 1 classes; one a class is needed"),
        (["a"], [71.0], [1], [(0, 0, 0)], "the IoU of a is 71.0; 0..1 is needed, NaN where absent"),
    ],
)
def test_bars_that_do_not_fit_are_refused(
    tmp_path: Path, classes: list[str], iou: list[float], counts: list[int], colors: list, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        draw_iou_bars(tmp_path / "iou.png", classes, iou, counts, colors)
    assert caught.value.message == message


def bucket(mean_iou: float, low: float, high: float, **fields: object) -> dict[str, object]:
    return {
        "smallest_area": 1000,
        "largest_area": 9000,
        "num_images": 30,
        "mean_iou": mean_iou,
        "mean_iou_low": low,
        "mean_iou_high": high,
        "accuracy": 0.9,
        **fields,
    }


def test_sizes_that_are_clearly_below() -> None:
    good, bad = bucket(0.7, 0.6, 0.8), bucket(0.4, 0.3, 0.5, smallest_area=20_000, largest_area=20_000)
    unsure, few = bucket(0.5, 0.4, 0.66), bucket(0.2, NAN, NAN)
    assert iou_size_verdict([good, bad, unsure, few], 0.65) == "65.0 % over all images; clearly below: 20 kpx"
    assert iou_size_verdict([good, unsure, few], 0.65) == "65.0 % over all images; no size is clearly below"
    assert iou_size_verdict([good], NAN) == "no pixels were counted"


def test_weak_sizes_are_orange(tmp_path: Path, decoded: Decoded) -> None:
    rows = [bucket(0.7, 0.6, 0.8), bucket(0.4, 0.3, 0.5), bucket(NAN, NAN, NAN, accuracy=None)]
    draw_iou_by_size(tmp_path / "by_size.png", rows, 0.65)
    pixels = np.asarray(decoded(tmp_path / "by_size.png"))
    heights = [
        int((pixels == color).all(axis=-1).sum(axis=0).max()) for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00))
    ]
    whole = 2.65 * 140 / 1.05
    assert heights == pytest.approx([0.7 * whole, 0.4 * whole], abs=5)
    draw_iou_by_size(tmp_path / "by_size.png", rows[:1], NAN)
    for wrong, message in (
        ([], "there are no rows; mean IoU by size needs at least one bucket"),
        ([bucket(40.0, 0.3, 0.5)], "rows[0] has mean_iou 40.0; 0..1 is needed"),
    ):
        with pytest.raises(UsageError) as caught:
            draw_iou_by_size(tmp_path / "by_size.png", wrong, 0.5)
        assert caught.value.message == message


def test_buckets_are_drawn_as_they_are_counted(tmp_path: Path, decoded: Decoded) -> None:
    scores = SegmentationScores(3)
    random = np.random.default_rng(0)
    for index in range(30):
        truth = random.integers(0, 3, (index + 1, 7)).astype(np.uint8)
        scores.update(index, truth, np.where(random.random(truth.shape) < 0.8, truth, 0))
    rows = [asdict(each) for each in scores.by_size()]
    draw_iou_by_size(tmp_path / "by_size.png", rows, scores.confusion.mean_iou)
    assert decoded(tmp_path / "by_size.png").size == (1120, 658)


def test_mean_iou_decides_and_is_drawn_where_there_is_one(tmp_path: Path, decoded: Decoded) -> None:
    rows = [
        {"epoch": 1, "val_mean_iou": 0.2, "val_accuracy": 0.95, "train_loss": 1.0},
        {"epoch": 2, "val_mean_iou": 0.6, "val_accuracy": 0.93, "train_loss": 0.5},
    ]
    assert best_epoch(rows) == Best(2, "val_mean_iou", 0.6)
    without = [{key: value for key, value in row.items() if key != "val_mean_iou"} for row in rows]
    assert best_epoch(without) == Best(1, "val_accuracy", 0.95)
    assert best_epoch([{**row, "val_mean_iou": None} for row in rows]) == Best(1, "val_accuracy", 0.95)
    renamed = [{**row, "val_accuracy": row["val_mean_iou"]} for row in without and rows]
    pictures = {}
    for name, these in {"iou": rows, "accuracy": without, "iou alone": renamed}.items():
        draw_curves(tmp_path / "curves.png", these)
        pictures[name] = np.asarray(decoded(tmp_path / "curves.png"))
    assert (pictures["iou"] == pictures["iou alone"]).all(), "the accuracy is not drawn beside a mean IoU"
    assert (pictures["iou"] != pictures["accuracy"]).any()
