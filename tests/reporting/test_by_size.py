import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.by_size import draw_by_size, overall_accuracy, size_verdict

Decoded = Callable[[Path], Image.Image]


def row(num_images: int, accuracy: float, **fields: object) -> dict[str, object]:
    return {"lower_pixels": 0, "upper_pixels": 4096, "num_images": num_images, "accuracy": accuracy, **fields}


LARGE = {"lower_pixels": 1e6, "upper_pixels": math.inf}


def test_overall_accuracy_is_over_images_and_not_over_buckets() -> None:
    assert overall_accuracy([row(300, 1.0), row(0, math.nan), row(100, 0.0)]) == 0.75
    assert math.isnan(overall_accuracy([row(0, math.nan)]))


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([row(900, 0.9), row(100, 0.5, **LARGE)], "86 % over all images; clearly below: > 1.0 Mpx"),
        ([row(900, 0.9), row(2, 0.5, **LARGE)], "90 % over all images; no size is clearly below"),
        ([row(900, 0.9), row(100, 0.5, label="huge")], "86 % over all images; clearly below: huge"),
        ([row(0, math.nan)], "no images"),
    ],
)
def test_verdict(rows: list[dict[str, object]], verdict: str) -> None:
    assert size_verdict(rows) == verdict


WITH_LOSS = {
    "all wrong, all right, none": [
        row(10, 0.0, loss=3.0),
        row(10, 1.0, loss=0.0),
        row(0, math.nan, loss=None),
    ],
    "zero loss": [row(10, 1.0, loss=0.0)],
    "twenty": [row(10**i, i / 20, loss=1.0, label=f"$bucket {i} with a long name") for i in range(20)],
}
WITHOUT_LOSS = {
    "one bucket, one image": [row(1, 1.0)],
    "nothing at all": [row(0, math.nan)],
    "NaN loss": [row(10, 0.5, loss=math.nan)],
    "a loss of no images": [row(10, 0.5), row(0, math.nan, loss=1.0)],
}


@pytest.mark.parametrize("case", [*WITH_LOSS, *WITHOUT_LOSS])
def test_bars_are_drawn(tmp_path: Path, decoded: Decoded, case: str) -> None:
    rows = {**WITH_LOSS, **WITHOUT_LOSS}[case]
    draw_by_size(tmp_path / "by_size.png", rows, title=case)
    width, height = decoded(tmp_path / "by_size.png").size
    assert width == (3514 if case == "twenty" else 1120)
    assert height == (868 if case in WITH_LOSS else 644)


def test_what_is_no_accuracy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        draw_by_size(tmp_path / "by_size.png", [row(3, 0.5), row(7, 91.0)])
    assert caught.value.message == "rows[1] has accuracy 91.0 of 7 images; 0..1 is needed"
    with pytest.raises(UsageError, match=r"^there are no rows; accuracy by size needs at least one bucket$"):
        draw_by_size(tmp_path / "by_size.png", [])
