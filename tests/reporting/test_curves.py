import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.curves import Best, best_epoch, column, draw_curves

Decoded = Callable[[Path], Image.Image]


def rows_of(num_epochs: int) -> list[dict[str, float | str | None]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "val_loss": 2.1 / epoch,
            "train_accuracy": 1 - 0.9 / epoch,
            "val_accuracy": 0.9 - 0.8 / epoch,
            "lr": 1e-3 / epoch,
            "seconds": 31.0,
            "mpx_per_s": 5.1,
        }
        for epoch in range(1, num_epochs + 1)
    ]


def without(rows: list[dict[str, float | str | None]], *keys: str) -> list[dict[str, float | str | None]]:
    return [{key: value for key, value in row.items() if key not in keys} for row in rows]


CASES = {
    "one epoch": rows_of(1),
    "many epochs": rows_of(300),
    "no validation": without(rows_of(5), "val_loss", "val_accuracy"),
    "no learning rate, no times": without(rows_of(5), "lr", "seconds", "mpx_per_s"),
    "epochs alone": [{"epoch": 1}, {"epoch": 2}],
    "validation is NaN": [{**row, "val_loss": math.nan, "val_accuracy": None} for row in rows_of(4)],
    "one validation between gaps": [{**row, "val_loss": "" if i != 50 else 1.0} for i, row in enumerate(rows_of(99))],
    "a diverging loss": [{**row, "train_loss": 10.0 ** (3 * i)} for i, row in enumerate(rows_of(6))],
    "an infinite loss": [{**row, "train_loss": math.inf} for row in rows_of(3)],
    "all zero": [{**row, "train_loss": 0.0, "val_loss": 0.0, "lr": 0.0, "val_accuracy": 0.0} for row in rows_of(3)],
    "perfect": [{**row, "train_accuracy": 1.0, "val_accuracy": 1.0} for row in rows_of(3)],
    "a negative loss": [{**row, "train_loss": -1.5} for row in rows_of(3)],
}


@pytest.mark.parametrize("case", CASES)
def test_curves_are_drawn(tmp_path: Path, decoded: Decoded, case: str) -> None:
    draw_curves(tmp_path / "curves.png", CASES[case], title=case)
    assert decoded(tmp_path / "curves.png").size == (1540, 840)


def test_one_epoch_is_visible(tmp_path: Path, decoded: Decoded) -> None:
    draw_curves(tmp_path / "one.png", without(rows_of(1), "lr"))
    draw_curves(tmp_path / "none.png", [{"epoch": 1}])

    def num_blue(name: str) -> int:
        pixels = decoded(tmp_path / name).tobytes()
        return sum(pixels[i : i + 3] == b"\x00\x72\xb2" for i in range(0, len(pixels), 3))

    assert num_blue("none.png") == 0
    assert num_blue("one.png") > 100


def test_column_reads_a_csv_file() -> None:
    rows: list[dict[str, float | str | None]] = [
        {"x": "1.5"},
        {"x": ""},
        {"x": None},
        {},
        {"x": math.inf},
        {"x": 2},
    ]
    values = column(rows, "x")
    assert [value for value in values if not math.isnan(value)] == [1.5, 2.0]
    assert [math.isnan(value) for value in values] == [False, True, True, True, True, False]


def test_best_epoch_by_what_there_is() -> None:
    rows = [
        {"epoch": 1, "val_accuracy": 0.5, "val_loss": 1.0, "train_accuracy": 0.9, "train_loss": 0.1},
        {"epoch": 2, "val_accuracy": 0.7, "val_loss": math.nan, "train_accuracy": 0.7, "train_loss": 0.2},
        {"epoch": 3, "val_accuracy": 0.7, "val_loss": 0.8, "train_accuracy": 0.8, "train_loss": 0.3},
    ]
    assert best_epoch(rows) == Best(2, "val_accuracy", 0.7)
    assert best_epoch(without(rows, "val_accuracy")) == Best(3, "val_loss", 0.8)
    assert best_epoch(without(rows, "val_accuracy", "val_loss")) == Best(1, "train_accuracy", 0.9)
    assert best_epoch(without(rows, "val_accuracy", "val_loss", "train_accuracy")) == Best(1, "train_loss", 0.1)
    assert best_epoch([{"epoch": 1}]) is None


@pytest.mark.parametrize(
    ("rows", "best", "message"),
    [
        ([], None, "there are no rows; curves need at least one epoch"),
        ([{"epoch": 1}, {"train_loss": 1.0}], None, "rows[1] has no epoch"),
        ([{"epoch": 1}, {"epoch": 2}], 3, "best is epoch 3, which is in no row; the rows are 1 to 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, rows: list[dict[str, float]], best: int | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        draw_curves(tmp_path / "curves.png", rows, best=best)
    assert caught.value.message == message
