from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.confusion import ConfusedPair, draw_confusion, most_confused, row_shares

Decoded = Callable[[Path], Image.Image]


def test_row_shares_are_exact_and_an_empty_row_stays_zero() -> None:
    shares = row_shares([[6, 2, 0], [0, 0, 0], [1, 1, 2]])
    assert shares.tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0], [0.25, 0.25, 0.5]]


def test_most_confused_by_count_then_share_then_class() -> None:
    matrix = np.array([[9, 3, 0, 1], [3, 1, 0, 0], [5, 0, 0, 0], [1, 0, 0, 0]])
    kept = matrix.copy()
    assert most_confused(matrix) == [
        ConfusedPair(2, 0, 5, 5),
        ConfusedPair(1, 0, 3, 4),
        ConfusedPair(0, 1, 3, 13),
        ConfusedPair(3, 0, 1, 1),
        ConfusedPair(0, 3, 1, 13),
    ]
    assert len(most_confused(matrix, num_pairs=2)) == 2
    assert most_confused(np.diag([3, 4])) == []
    assert (matrix == kept).all()


@pytest.mark.parametrize("num_classes", [1, 2, 20, 21, 40, 41, 251, 1_000])
def test_confusion_is_drawn(tmp_path: Path, decoded: Decoded, num_classes: int) -> None:
    random = np.random.default_rng(num_classes)
    matrix = random.poisson(0.2, (num_classes, num_classes)) + 40 * np.eye(num_classes, dtype=int)
    matrix[num_classes // 2] = 0
    classes = [f"class $number {i} with a name of many words" for i in range(num_classes)]
    draw_confusion(tmp_path / "confusion.png", matrix, classes)
    assert decoded(tmp_path / "confusion.png").size == (1596, 1085)


def test_names_are_no_formulas(tmp_path: Path, decoded: Decoded) -> None:
    classes = [
        r"$\frac{$",
        "$a_b$",
        "two\nlines",
        "bad\udcff",
    ]  # the first one is a formula that cannot be read
    draw_confusion(tmp_path / "confusion.png", np.ones((4, 4)), classes, title=r"$\frac{$")
    decoded(tmp_path / "confusion.png")


def test_one_mistake_among_a_million_cells_is_visible(tmp_path: Path, decoded: Decoded) -> None:
    def num_orange(matrix: np.ndarray) -> int:
        draw_confusion(tmp_path / "confusion.png", matrix, [str(i) for i in range(1_000)])
        pixels = np.asarray(decoded(tmp_path / "confusion.png")).astype(int)
        return int(((abs(pixels - (0xD5, 0x5E, 0x00))).sum(-1) < 30).sum())

    matrix = np.eye(1_000, dtype=int)
    assert num_orange(matrix) == 0
    matrix[200, 700], matrix[200, 200] = 1, 0
    assert num_orange(matrix) >= 4


@pytest.mark.parametrize(
    ("matrix", "classes", "message"),
    [
        ([[1, 2]], ["a"], "the matrix has shape (1, 2); (K, K) with K >= 1 is needed"),
        ([[1, 2], [3, 4]], ["a"], "the matrix has 2 rows and there are 1 classes; one name a row"),
        ([[-1]], ["a"], "the matrix holds -1; counts start at 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, matrix: list[list[int]], classes: list[str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        draw_confusion(tmp_path / "confusion.png", matrix, classes)
    assert caught.value.message == message
