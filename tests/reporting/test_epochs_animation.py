"""The animation over the epochs: the right frames, exact colours, and a file that stays small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.segmentation import (
    OverlayItem,
    draw_epochs_animation,
    draw_overlay_sheet,
    render_overlay_sheet,
)
from anysize.reporting.segmentation.animation import chosen_epochs

COLORS = tuple((17 * k, 255 - 23 * k, (61 * k) % 256) for k in range(8))
CLASSES = tuple(f"class {k}" for k in range(8))
LEFT, TOP, STEP = 26, 112, 134  # of pictures of 60 x 120 in a sheet


def sheet(epoch: int) -> np.ndarray:
    """A gradient as the photograph; class `epoch` modulo 8 is predicted everywhere but in the left half."""
    image = np.stack(np.meshgrid(np.arange(120), np.arange(60)), axis=-1).astype(np.uint8)
    image = np.concatenate([image, image[..., :1] + image[..., 1:]], axis=-1)
    truth = np.arange(120, dtype=np.uint8)[None].repeat(60, axis=0) // 60
    prediction = np.where(truth == 0, 0, epoch % 8).astype(np.uint8)
    one = OverlayItem(image=image, name="a.png", truth=truth, prediction=prediction)
    return render_overlay_sheet([one], COLORS, CLASSES, "fixed validation images")


def frames(path: Path) -> list[tuple[int, np.ndarray]]:
    """(milliseconds, (H, W, 3)) of each frame, as a viewer composes them."""
    result = []
    with Image.open(path) as animation:
        assert animation.format == "GIF"
        for place in range(animation.n_frames):
            animation.seek(place)
            result.append((animation.info["duration"], np.array(animation.convert("RGB"))))
    return result


def test_each_frame_is_its_sheet_in_exact_colours(tmp_path: Path) -> None:
    path = tmp_path / "epochs.gif"
    draw_epochs_animation(path, [(epoch, sheet(epoch)) for epoch in range(1, 13)], COLORS)
    shown = frames(path)
    assert [milliseconds for milliseconds, _ in shown] == [800] * 11 + [3000]
    for epoch, (_, frame) in enumerate(shown, start=1):
        assert frame.shape == sheet(epoch).shape, "small sheets are not shrunk"
        for column, (left, right) in {1: (0, 1), 2: (0, epoch % 8)}.items():
            x = LEFT + column * STEP
            assert (frame[TOP : TOP + 60, x : x + 60] == COLORS[left]).all()
            assert (frame[TOP : TOP + 60, x + 60 : x + 120] == COLORS[right]).all()
        wrong = (frame[TOP : TOP + 60, LEFT + 3 * STEP :] == (0xD5, 0x5E, 0)).all(axis=-1)[:, :120]
        assert wrong.sum() == (0 if epoch % 8 == 1 else 60 * 60)
        photo = frame[TOP : TOP + 60, LEFT : LEFT + 120].astype(int)
        assert abs(photo - sheet(epoch)[TOP : TOP + 60, LEFT : LEFT + 120]).max() <= 24


def test_200_classes(tmp_path: Path) -> None:
    """The first 180 are exact, and photographs are still to be recognised."""
    colors = [(k, 255 - k, (k * 7) % 256) for k in range(200)]
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    labels = random.integers(0, 180, (200, 300)).astype(np.uint8)
    whole = np.concatenate([photo, np.array(colors, dtype=np.uint8)[labels]])
    draw_epochs_animation(tmp_path / "epochs.gif", [(1, whole)], colors)
    ((_, frame),) = frames(tmp_path / "epochs.gif")
    away = abs(frame[200:].astype(int) - whole[200:]).max(axis=-1)
    assert away.max() < 4, "colours that share six bits a channel are shown as the first of them"
    assert (away == 0).mean() > 0.5
    assert abs(frame[60:200].astype(int) - whole[60:200]).mean() < 30


def test_every_frame_tells_its_epoch(tmp_path: Path) -> None:
    """The corner differs though the sheets do not, and the bar under the words grows."""
    draw_epochs_animation(tmp_path / "epochs.gif", [(epoch, sheet(1)) for epoch in (2, 10, 40)])
    corners = [frame[:50, -160:] for _, frame in frames(tmp_path / "epochs.gif")]
    bars = [int((corner == (0x00, 0x72, 0xB2)).all(axis=-1).any(axis=0).sum()) for corner in corners]
    assert 1 <= bars[0] < bars[1] < bars[2]
    assert bars[:2] == pytest.approx([bars[2] / 20, bars[2] / 4], abs=1.5)
    assert (corners[0] != corners[1]).any(axis=-1).sum() > 50


def test_files_are_read_and_lower_sheets_filled_up(tmp_path: Path) -> None:
    """Another class in the legend makes a sheet higher."""
    sheets = []
    for epoch, (height, width) in {1: (60, 120), 2: (90, 120)}.items():
        one = OverlayItem(
            image=np.full((height, width, 3), 90, np.uint8),
            name="a.png",
            truth=np.zeros((height, width), np.uint8),
            prediction=np.ones((height, width), np.uint8),
        )
        sheets.append((epoch, tmp_path / f"epoch_{epoch:03d}.png"))
        draw_overlay_sheet(sheets[-1][1], [one], COLORS, CLASSES)
    draw_epochs_animation(tmp_path / "epochs.gif", sheets)
    (_, low), (_, high) = frames(tmp_path / "epochs.gif")
    assert low.shape == high.shape
    assert (low[-28:] == 255).all()
    assert (high[TOP : TOP + 90, LEFT : LEFT + 120] == 90).all()


def test_of_many_rows_the_first_that_fit_are_shown(tmp_path: Path) -> None:
    """Twenty rows of 166 dots, the legend in two lines or one: at most 1,300 dots, and no row is cut."""
    sheets = []
    for epoch in (1, 2):
        items = [
            OverlayItem(
                image=np.full((120, 120, 3), 10 * row, np.uint8),
                name=f"{row}.png",
                truth=np.zeros((120, 120), np.uint8),
                prediction=np.full((120, 120), (epoch - 1) * row % 8, np.uint8),
            )
            for row in range(20)
        ]
        sheets.append((epoch, tmp_path / f"epoch_{epoch:03d}.png"))
        draw_overlay_sheet(sheets[-1][1], items, COLORS, CLASSES)
    with Image.open(sheets[0][1]) as image:
        assert image.height == 86 + 20 * 166 + 26 + 26
    draw_epochs_animation(tmp_path / "epochs.gif", sheets, COLORS)
    shown = [frame for _, frame in frames(tmp_path / "epochs.gif")]
    for epoch, frame in enumerate(shown, start=1):
        assert frame.shape[0] == 86 + 6 * 166 + 2 * 26 + 26 <= 1300 < frame.shape[0] + 166
        for row in range(6):
            top = TOP + row * 166
            assert abs(frame[top : top + 120, LEFT : LEFT + 120].astype(int) - 10 * row).max() <= 4
            color = COLORS[(epoch - 1) * row % 8]
            assert (frame[top : top + 120, LEFT + 2 * STEP : LEFT + 2 * STEP + 120] == color).all()
        foot = frame[86 + 6 * 166 :]
        swatches = [int((foot == color).all(axis=-1).sum()) for color in COLORS]
        assert swatches == ([384] + [0] * 7 if epoch == 1 else [384] * 8)
    with_words, without = (frame[:36, 410:550] < 200 for frame in (shown[0], sheet(1)))
    assert with_words.any(axis=-1).sum() > 100
    assert not without.any()


def noise(epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).integers(0, 256, (200, 300, 3), dtype=np.uint8)


def test_a_file_that_is_too_large_gets_smaller_frames(tmp_path: Path) -> None:
    path = tmp_path / "epochs.gif"
    sheets = [(epoch, noise(epoch)) for epoch in range(1, 5)]
    draw_epochs_animation(path, sheets)
    assert path.stat().st_size > 150_000
    draw_epochs_animation(path, sheets, max_bytes=90_000)
    assert path.stat().st_size <= 90_000
    height, width = frames(path)[0][1].shape[:2]
    assert 75 < width < 300
    assert height / width == pytest.approx(2 / 3, abs=0.02)


def test_only_what_changes_costs_bytes(tmp_path: Path) -> None:
    still = noise(0)
    draw_epochs_animation(tmp_path / "one.gif", [(1, still)])
    draw_epochs_animation(tmp_path / "many.gif", [(epoch, still) for epoch in range(1, 21)])
    one, many = ((tmp_path / name).stat().st_size for name in ("one.gif", "many.gif"))
    assert one < many < 1.6 * one


def test_many_epochs_are_thinned_evenly() -> None:
    for num_epochs in (1, 2, 59, 60, 61, 1000):
        chosen = chosen_epochs(num_epochs, 60)
        assert len(chosen) == len(set(chosen)) == min(num_epochs, 60)
        assert chosen[-1] == num_epochs - 1
        assert chosen[0] == 0
        steps = np.diff(chosen)
        assert len(steps) == 0 or steps.max() - steps.min() <= 1
    assert chosen_epochs(5, 1) == [4]


def test_one_large_sheet(tmp_path: Path) -> None:
    draw_epochs_animation(tmp_path / "epochs.gif", [(7, np.full((5000, 1414, 3), 40, np.uint8))])
    with Image.open(tmp_path / "epochs.gif") as image:
        assert image.size == (368, 1300)


@pytest.mark.parametrize(
    ("name", "epochs", "message"),
    [
        ("a.gif", [], "there are no sheets; an animation needs at least one epoch"),
        ("a.gif", [1, 3, 3], "the epochs are 1, 3, 3; they must ascend"),
        ("a.png", [1, 2], "the animation is to be written to a.png; only .gif is drawn"),
    ],
)
def test_what_cannot_be_animated_is_refused(tmp_path: Path, name: str, epochs: list[int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        draw_epochs_animation(tmp_path / name, [(epoch, sheet(epoch)) for epoch in epochs])
    assert caught.value.message == message
    assert not list(tmp_path.iterdir())
