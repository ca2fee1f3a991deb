"""Class weights from counts."""

import numpy as np
import pytest

from anysize.errors import DataError, UsageError
from anysize.losses import WEIGHTINGS, class_weights_from_counts, create_loss, parse_class_weights


def test_median_frequency() -> None:
    random = np.random.default_rng(0)
    for num_classes in range(1, 9):
        counts = random.integers(0, 10**9, num_classes) * (random.random(num_classes) < 0.7)
        if not counts.any():
            continue
        weights = class_weights_from_counts(counts)
        frequencies = counts[counts > 0] / counts.sum()
        np.testing.assert_allclose(np.array(weights)[counts > 0], np.median(frequencies) / frequencies, rtol=1e-12)
        assert all(weight == 1 for weight, count in zip(weights, counts, strict=True) if not count)
        assert class_weights_from_counts(counts, "none") == (1.0,) * num_classes
        np.testing.assert_allclose(class_weights_from_counts(counts, "sqrt"), np.sqrt(weights), rtol=1e-12)


def test_every_scheme_gives_weights_that_losses_take() -> None:
    for scheme in WEIGHTINGS:
        weights = class_weights_from_counts([10**12, 1, 0, 7], scheme)
        assert create_loss("ce", num_classes=4, class_weights=weights).class_weights == weights


@pytest.mark.parametrize(
    ("counts", "scheme", "kind", "message"),
    [
        ([1, 2], "inverse", UsageError,
         "there is no scheme of class weights 'inverse'\nhint: balanced, none, sqrt, or numbers, one a class"),
        ([1, -2], "balanced", UsageError, "a class has the count -2; 0 or more is required"),
        ([0, 0, 0], "balanced", DataError,
         "class weights were asked for, and none of the 3 classes was counted once"),
    ],
)  # fmt: skip
def test_what_is_refused(counts: list[int], scheme: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        class_weights_from_counts(counts, scheme)
    assert str(caught.value) == message
    assert type(caught.value) is kind


def test_words_are_a_scheme_or_numbers_however_they_are_joined() -> None:
    assert parse_class_weights(()) is None
    assert parse_class_weights(("sqrt",)) == "sqrt"
    for words in (("1", "2", "0.5"), ("1,2,0.5",), ("1,", "2,", "0.5")):
        assert parse_class_weights(words) == (1.0, 2.0, 0.5)
    with pytest.raises(UsageError) as caught:
        parse_class_weights(("1", "heavy"))
    assert caught.value.message == ("--class-weights is 1 heavy; it must be balanced, none, sqrt or one number a class")
    assert caught.value.hint == "--class-weights balanced"
