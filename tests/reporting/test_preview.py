import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.preview import PreviewItem, draw_preview, scale_text, shown_scale

Decoded = Callable[[Path], Image.Image]


def item(height: int, width: int, channels: int = 3, **fields: object) -> PreviewItem:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return PreviewItem(**{"image": image, "name": f"train/{height}x{width}.png", **fields})


@pytest.mark.parametrize(
    ("size", "scale", "text"),
    [
        ((1, 1), 96.0, "shown 96×"),
        ((17, 23), 5.0, "shown 5×"),
        ((48, 48), 2.0, "shown 2×"),
        ((1, 95), 2.0, "shown 2×"),
        ((96, 3), 1.0, "shown 1:1"),
        ((230, 320), 1.0, "shown 1:1"),
        ((5000, 80), 0.046, "shown at 4.6 %"),
        ((80, 6400), 0.05, "shown at 5.0 %"),
        ((460, 100), 0.5, "shown at 50.0 %"),
    ],
)
def test_scale(size: tuple[int, int], scale: float, text: str) -> None:
    assert shown_scale(size) == scale
    assert scale_text(scale) == text


def test_every_image_fits_and_tiny_ones_are_enlarged_by_integers() -> None:
    random = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in np.exp(random.uniform(0, 9, (500, 2)))]
    enlarged = 0
    for height, width in sizes:
        scale = shown_scale((height, width))
        assert height * scale <= 230.0001
        assert width * scale <= 320.0001
        if scale >= 1:
            assert scale == int(scale)
            enlarged += scale > 1
        else:
            assert height > 230 or width > 320
    assert enlarged > 20


def test_sheet_of_sixteen_sizes_is_quick(tmp_path: Path, decoded: Decoded) -> None:
    sizes = [(1, 1), (5000, 80), (80, 5000), (2000, 3000), (17, 23), (375, 500), (230, 320), (231, 321)] * 2
    items = [
        item(
            *size,
            channels=1 + 2 * (i % 2),
            truth="cat",
            prediction=("cat", "dog" * 30)[i % 3 == 0],
            confidence=0.9,
        )
        for i, size in enumerate(sizes)
    ]
    draw_preview(tmp_path / "preview.png", items)  # the fonts are loaded once in a process
    start = time.perf_counter()
    draw_preview(tmp_path / "preview.png", items, title="Preview " * 40)
    assert time.perf_counter() - start < 3  # about 0.4 s on one core; the rest is for a busy machine
    assert decoded(tmp_path / "preview.png").size == (1426, 1496)


def test_an_enlarged_pixel_is_a_square_of_its_colour(tmp_path: Path, decoded: Decoded) -> None:
    image = np.array([[[250, 10, 20], [30, 240, 50]]], dtype=np.uint8)
    draw_preview(tmp_path / "preview.png", [PreviewItem(image=image, name="two pixels")])
    pixels = np.asarray(decoded(tmp_path / "preview.png"))
    for color in image[0]:
        rows, columns = np.nonzero((pixels == color).all(-1))
        assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 48
        assert len(rows) == 48 * 48


def test_right_and_wrong_differ(tmp_path: Path, decoded: Decoded) -> None:
    colors = {}
    for prediction in ("cat", "dog", None):
        draw_preview(tmp_path / "preview.png", [item(200, 200, truth="cat", prediction=prediction)])
        pixels = np.asarray(decoded(tmp_path / "preview.png"))
        colors[prediction] = {
            name: int((pixels == color).all(-1).sum())
            for name, color in {"green": (0, 0x8A, 0x64), "orange": (0xD5, 0x5E, 0)}.items()
        }
    assert colors["cat"]["green"] > 3000 > 100 > colors["cat"]["orange"]
    assert colors["dog"]["orange"] > 3000 > 100 > colors["dog"]["green"]
    assert colors[None] == {"green": 0, "orange": 0}


def test_names_in_any_script_and_undecodable_names(tmp_path: Path, decoded: Decoded) -> None:
    names = ["猫.png", "bad\udcff.png", "two\nlines", "", "x" * 3000, "$a_b$", "🐱"]
    draw_preview(tmp_path / "preview.png", [item(9, 9, name=name, truth=name, prediction=name) for name in names])
    decoded(tmp_path / "preview.png")


def test_a_reduced_copy_is_shown_by_the_true_size() -> None:
    small = item(300, 400, size=(3000, 4000))
    assert small.true_size == (3000, 4000)
    assert item(300, 400).true_size == (300, 400)


def test_jpeg_too(tmp_path: Path) -> None:
    draw_preview(tmp_path / "preview.jpg", [item(30, 40)])
    with Image.open(tmp_path / "preview.jpg") as image:
        assert image.format == "JPEG"


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    for image in (
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
    ):
        with pytest.raises(UsageError) as caught:
            PreviewItem(image=image, name="a.png")
        assert caught.value.message == (
            f"image a.png is {image.dtype} of shape {image.shape}; "
            "uint8 (H, W, C) with C = 1 or 3 and no empty side is needed"
        )
    with pytest.raises(UsageError, match=r"^there are no images; a preview needs at least one$"):
        draw_preview(tmp_path / "preview.png", [])
