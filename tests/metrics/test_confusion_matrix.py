"""The confusion matrix against a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.errors import UsageError
from anysize.metrics import ConfusionMatrix


@given(num_classes=st.integers(1, 5), data=st.data())
def test_counts_and_ratios(num_classes: int, data: st.DataObject) -> None:
    index = st.integers(0, num_classes - 1)
    pairs = data.draw(st.lists(st.tuples(index, index), max_size=30))
    cut = data.draw(st.integers(0, len(pairs)))
    matrix = ConfusionMatrix(num_classes)
    for part in (pairs[:cut], pairs[cut:]):
        truth, prediction = (np.array([pair[k] for pair in part], dtype=np.int64) for k in range(2))
        matrix.update(truth, prediction)
    counts = [[0] * num_classes for _ in range(num_classes)]
    for truth, prediction in pairs:
        counts[truth][prediction] += 1
    assert matrix.counts.tolist() == counts
    assert matrix.num_targets == len(pairs)
    right = sum(truth == prediction for truth, prediction in pairs)
    assert matrix.accuracy == pytest.approx(right / len(pairs) if pairs else float("nan"), nan_ok=True)
    for k in range(num_classes):
        of_class = [prediction for truth, prediction in pairs if truth == k]
        predicted = [truth for truth, prediction in pairs if prediction == k]
        recall = of_class.count(k) / len(of_class) if of_class else float("nan")
        precision = predicted.count(k) / len(predicted) if predicted else float("nan")
        assert matrix.recall[k] == pytest.approx(recall, nan_ok=True)
        assert matrix.precision[k] == pytest.approx(precision, nan_ok=True)


def test_small_integers_do_not_wrap_around() -> None:
    matrix = ConfusionMatrix(100)
    matrix.update(np.array([99, 98], dtype=np.uint8), np.array([99, 3], dtype=np.uint8))
    assert matrix.counts[99, 99] == matrix.counts[98, 3] == 1
    assert matrix.num_targets == 2


def test_an_index_that_is_no_class() -> None:
    """0 -> 4 of three classes would be counted as 1 -> 1."""
    matrix = ConfusionMatrix(3)
    for truth, prediction, message in (
        ([0, 1], [4, 1], "the prediction holds class indices from 1 to 4; they must lie in 0..2"),
        ([-1, 2], [1, 1], "the truth holds class indices from -1 to 2; they must lie in 0..2"),
    ):
        with pytest.raises(UsageError) as caught:
            matrix.update(np.array(truth), np.array(prediction))
        assert str(caught.value) == message
    assert matrix.num_targets == 0
