"""Sheets of segmented images: what stands where, and that nothing odd breaks them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.segmentation import OverlayItem, draw_overlay_sheet, render_overlay_sheet

Decoded = Callable[[Path], Image.Image]
COLORS = ((10, 20, 30), (250, 200, 0), (0, 90, 250))
CLASSES = ("ground", "roof", "water")
ORANGE = (0xD5, 0x5E, 0x00)
LEFT, TOP = 26, 112  # of the first picture


def item(height: int = 120, width: int = 200, seed: int = 0, **fields: object) -> OverlayItem:
    random = np.random.default_rng(seed)
    truth = random.choice([0, 1, 255], (height, width)).astype(np.uint8)
    defaults = {
        "image": random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "name": f"val/{height}x{width}.png",
        "truth": truth,
        "prediction": random.integers(0, 2, (height, width)).astype(np.uint8),
    }
    return OverlayItem(**{**defaults, **fields})


def panel(sheet: np.ndarray, column: int, height: int, width: int, step: int, top: int = TOP) -> np.ndarray:
    left = LEFT + column * step
    return sheet[top : top + height, left : left + width]


def shows(sheet: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((sheet == color).all(axis=-1).sum())


def test_a_row_is_image_truth_prediction_errors(tmp_path: Path, decoded: Decoded) -> None:
    one = item()
    draw_overlay_sheet(tmp_path / "epoch_003.png", [one], COLORS, CLASSES, "epoch 3")
    sheet = np.asarray(decoded(tmp_path / "epoch_003.png"))
    assert (sheet == render_overlay_sheet([one], COLORS, CLASSES, "epoch 3")).all()
    image, truth, prediction, errors = (panel(sheet, column, 120, 200, 214) for column in range(4))
    assert (image == one.image).all()
    counted = one.truth != 255
    colors = np.array(COLORS)
    assert (truth[counted] == colors[one.truth[counted]]).all()
    assert not (truth[~counted, None] == colors).all(axis=-1).any(), "ignored pixels have the colour of no class"
    assert (prediction == colors[one.prediction]).all(), "what is predicted under ignored pixels is shown"
    wrong = counted & (one.truth != one.prediction)
    assert ((errors == ORANGE).all(axis=-1) == wrong).all()
    assert 0 < wrong.sum() < counted.sum() < counted.size


def test_rows_follow_each_other_in_their_shapes() -> None:
    items = [item(100, 330), item(330, 100, seed=1), item(20, 20, seed=2)]
    sheet = render_overlay_sheet(items, COLORS, CLASSES)
    top = TOP
    for one, (height, width) in zip(items, ((100, 330), (330, 100), (100, 100)), strict=True):
        shown = panel(sheet, 2, height, width, 344, top)
        expected = np.array(COLORS)[one.prediction]
        assert (shown == expected.repeat(height // len(expected), 0).repeat(height // len(expected), 1)).all()
        top += height + 46


def test_a_shrunk_mask_mixes_no_classes() -> None:
    large = item(1000, 1500)
    sheet = render_overlay_sheet([large], COLORS, CLASSES)
    shown = panel(sheet, 2, 220, 330, 344).reshape(-1, 3)
    assert {tuple(dot) for dot in shown.tolist()} == set(COLORS[:2])


def test_masks_of_another_size_than_the_image() -> None:
    one = item(120, 200, image=np.full((60, 100, 1), 77, np.uint8))
    sheet = render_overlay_sheet([one], COLORS, CLASSES)
    assert (panel(sheet, 0, 120, 200, 214) == 77).all()
    assert one.true_size == (120, 200)


def test_the_legend_names_what_occurs() -> None:
    below = render_overlay_sheet([item()], COLORS, CLASSES)[TOP + 120 + 5 :]
    assert shows(below, COLORS[0]) == shows(below, COLORS[1]) == shows(below, ORANGE) == 16 * 24
    assert shows(below, COLORS[2]) == 0, "no pixel is water"
    assert shows(below, (168,) * 3) > 100, "ignored"
    complete = item(truth=np.zeros((120, 200), np.uint8), prediction=None)
    below = render_overlay_sheet([complete], COLORS, CLASSES)[TOP + 120 + 5 :]
    assert shows(below, COLORS[0]) == 16 * 24
    assert shows(below, COLORS[1]) == shows(below, ORANGE) == shows(below, (168,) * 3) == 0


def test_nothing_moves_when_another_class_is_predicted() -> None:
    """For an animation over the epochs: the legend, which changes, is the foot."""
    many = 60
    colors, classes = [(k, 2 * k, 255 - k) for k in range(many)], [f"class number {k}" for k in range(many)]
    one = item(prediction=np.zeros((120, 200), np.uint8))
    other = item(prediction=np.arange(120 * 200, dtype=np.int64).reshape(120, 200).astype(np.uint8) % many)
    few, all_of_them = (render_overlay_sheet([each], colors, classes) for each in (one, other))
    assert few.shape[1] == all_of_them.shape[1]
    assert all_of_them.shape[0] - few.shape[0] >= 5 * 26, "the legend wraps"
    for column in (0, 1):
        assert (panel(few, column, 120, 200, 214) == panel(all_of_them, column, 120, 200, 214)).all()


def test_without_predictions_the_mask_is_laid_over_the_image() -> None:
    blocks = np.random.default_rng(1).choice([0, 1, 255], (6, 10)).astype(np.uint8)
    truth = blocks.repeat(20, axis=0).repeat(20, axis=1)
    one = item(prediction=None, truth=truth)
    sheet = render_overlay_sheet([one, item(40, 40, truth=None, prediction=None)], COLORS, CLASSES)
    over = panel(sheet, 2, 120, 200, 214)
    inside = (np.arange(120) % 20 > 0)[:, None] & (np.arange(200) % 20 > 0)  # borders have a line of their own
    counted = (one.truth != 255) & inside
    expected = (one.image.astype(int)[counted] + np.array(COLORS)[one.truth[counted]]) // 2
    assert (over[counted] == expected).all()


def test_odd_images_and_names(tmp_path: Path, decoded: Decoded) -> None:
    sizes = [(1, 1), (5000, 80), (60, 4000), (1, 300), (900, 1), (17, 23)]
    names = ["猫.png", "bad\udcff.png", "two\nlines", "", "x" * 3000, "$a_b$"]
    colors, classes = [(k, 255 - k, 7) for k in range(255)], [f"{name} {k}" for k in range(51) for name in names[:5]]
    items = [
        item(*size, name=name, scores="mean IoU – " * k, prediction=np.full(size, 40 * k, np.uint8))
        for k, (size, name) in enumerate(zip(sizes, names, strict=True))
    ]
    items += [item(9, 9, truth=None, scores="s" * 500), item(9, 9, prediction=None)]
    draw_overlay_sheet(tmp_path / "odd.png", items, colors, classes, "title " * 99)
    width, height = decoded(tmp_path / "odd.png").size
    assert width == 4 * 330 + 3 * 14 + 52
    assert 1000 < height < 3000
    draw_overlay_sheet(tmp_path / "odd.jpg", items[:1], colors, classes)
    with Image.open(tmp_path / "odd.jpg") as image:
        assert image.format == "JPEG"


def test_real_images(real_data: Path) -> None:
    """Street facades, in whose masks some pixels are ignored."""
    root = real_data / "facade_voc"
    classes = (root / "classes.txt").read_text().split()
    name = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()[0]
    with Image.open(root / "SegmentationClass" / f"{name}.png") as mask:
        palette, truth = mask.getpalette(), np.array(mask)
    colors = [tuple(palette[3 * k : 3 * k + 3]) for k in range(len(classes))]
    with Image.open(root / "JPEGImages" / f"{name}.jpg") as photo:
        image = np.array(photo)
    prediction = np.where(truth == 255, 0, np.roll(truth, 9, axis=1))
    prediction[prediction == 255] = 0
    sheet = render_overlay_sheet(
        [OverlayItem(image=image, name=name, truth=truth, prediction=prediction)], colors, classes
    )
    height, width = (round(330 / max(truth.shape) * side) for side in truth.shape)
    rows = ((np.arange(height) + 0.5) * truth.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * truth.shape[1] / width).astype(int)
    seen, guessed = (each[np.ix_(rows, columns)] for each in (truth, prediction))
    wrong = (panel(sheet, 3, height, width, 344) == ORANGE).all(axis=-1)
    assert (wrong == ((seen != guessed) & (seen != 255))).all()
    assert 0 < wrong.mean() < 0.5
    shown = panel(sheet, 1, height, width, 344)
    assert (shown[seen != 255] == np.array(colors)[seen[seen != 255]]).all()
    assert (seen == 255).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"image": np.zeros((4, 5, 4), np.uint8)},
            "image a.png is uint8 of shape (4, 5, 4); uint8 (H, W, C) with C = 1 or 3 and no empty side is needed",
        ),
        (
            {"truth": np.zeros((4, 5), np.int64)},
            "the mask of a.png is int64 of shape (4, 5); uint8 (H, W) without an empty side is needed",
        ),
        (
            {"prediction": np.zeros((0, 5), np.uint8)},
            "the prediction of a.png is uint8 of shape (0, 5); uint8 (H, W) without an empty side is needed",
        ),
        (
            {"truth": np.zeros((4, 5), np.uint8), "prediction": np.zeros((2, 5), np.uint8)},
            "the prediction of a.png has shape (2, 5) and its mask (4, 5); they must be of one size",
        ),
    ],
)
def test_what_is_no_item_is_refused(fields: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        OverlayItem(**{"image": np.zeros((4, 5, 3), np.uint8), "name": "a.png", **fields})
    assert caught.value.message == message


def test_what_has_no_colour_is_refused() -> None:
    for items, colors, message in (
        ([], COLORS, "there are no images; a sheet needs at least one"),
        ([item()], COLORS[:2], "there are 2 colours and 3 classes; one colour a class is needed"),
        (
            [item(4, 4, truth=np.full((4, 4), 3, np.uint8))],
            COLORS,
            "the mask of val/4x4.png holds 3; class indices must lie in 0..2, and 255 marks pixels to ignore",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            render_overlay_sheet(items, colors, CLASSES)
        assert caught.value.message == message


def test_drawing_imports_no_pyplot_and_no_torch() -> None:
    code = (
        "import sys, anysize.reporting.segmentation, anysize.reporting.lr_sweep\n"
        "print(sorted({'torch', 'matplotlib.pyplot', 'matplotlib.figure'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['matplotlib.figure']"
