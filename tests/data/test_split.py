"""The drawn split: every class and every size on both sides, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.data.split import keep_classes, stratified_split
from anysize.errors import UsageError


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    val_split=st.floats(0.01, 0.99),
    seed=st.integers(-(2**40), 2**70),
)
def test_each_class_is_on_both_sides(labels: list[int], val_split: float, seed: int) -> None:
    sizes = np.random.default_rng(0).integers(1, 900, (len(labels), 2))
    drawn = stratified_split(labels, sizes, val_split, seed)
    for name in set(labels):
        members = np.asarray(labels) == name
        count, val = int(members.sum()), int((drawn & members).sum())
        if count == 1:
            assert val == 0
        else:
            assert val == min(max(int(count * val_split + 0.5), 1), count - 1)
    assert np.array_equal(drawn, stratified_split(labels, sizes, val_split, seed))


def test_every_slice_of_sizes_gives_one_image() -> None:
    areas = np.arange(1, 101)
    order = np.random.default_rng(0).permutation(100)
    sizes = np.stack([np.ones(100, int), areas], axis=1)[order]
    seen: set[bytes] = set()
    for seed in range(20):
        drawn = stratified_split(np.zeros(100, int), sizes, 0.2, seed)
        assert drawn[np.argsort(order)].reshape(20, 5).sum(axis=1).tolist() == [1] * 20
        seen.add(drawn.tobytes())
    assert len(seen) == 20, "another seed draws other images"


def test_a_share_of_nothing_draws_nothing() -> None:
    assert not stratified_split([0, 0, 1, 1], np.ones((4, 2)), 0.0, 0).any()


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        stratified_split([0], [[1, 1]], 1.0, 0)
    assert str(caught.value) == (
        "val_split is 1.0; it must be at least 0 and below 1\n"
        "hint: val_split=0.2 keeps a fifth of each class for validation"
    )


@given(
    data=st.lists(st.tuples(st.lists(st.booleans(), min_size=4, max_size=4), st.booleans()), min_size=1, max_size=25),
    seed=st.integers(0, 9),
)
def test_no_class_is_lost_to_validation(data: list[tuple[list[bool], bool]], seed: int) -> None:
    present = np.array([classes for classes, _ in data])
    is_val = np.array([val for _, val in data])
    sizes = np.random.default_rng(seed).integers(1, 90, (len(data), 2))
    before = present.copy(), is_val.copy()
    kept = keep_classes(is_val, present, sizes)
    assert np.array_equal(present, before[0])
    assert np.array_equal(is_val, before[1])
    for label in range(4):
        holders = [row for row in range(len(data)) if present[row, label]]
        assert not holders or any(not kept[row] for row in holders)
    complete = all(not present[:, label].any() or present[~is_val, label].any() for label in range(4))
    assert np.array_equal(kept, is_val) or not complete
    assert kept.sum() <= is_val.sum()


def test_an_image_of_like_size_goes_in_exchange() -> None:
    present = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 0], [1, 0, 0]], bool)
    sizes = [(10, 10), (50, 10), (10, 11), (10, 13), (10, 30)]
    kept = keep_classes(np.array([True, False, False, False, False]), present, sizes)
    assert kept.tolist() == [False, False, False, True, False], "(10, 11) is the only one of class 2"
