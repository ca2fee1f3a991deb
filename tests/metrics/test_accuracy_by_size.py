"""Buckets by size: every image in one, equal areas together, sums that add up."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.metrics import accuracy_by_size


@given(
    areas=st.lists(st.integers(1, 12), max_size=40) | st.lists(st.integers(1, 10**9), max_size=40),
    max_buckets=st.integers(1, 8),
    seed=st.integers(0, 100),
)
def test_buckets(areas: list[int], max_buckets: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    right, losses = random.random(len(areas)) < 0.6, random.random(len(areas))
    buckets = accuracy_by_size(np.array(areas, dtype=np.int64), right, losses, max_buckets)
    assert len(buckets) <= min(max_buckets, len(set(areas)))
    assert bool(buckets) == bool(areas)
    assert sum(bucket.num_images for bucket in buckets) == len(areas)
    assert sum(bucket.num_right for bucket in buckets) == int(right.sum())
    for before, after in itertools.pairwise(buckets):
        assert before.largest_area < after.smallest_area, "equal areas share a bucket"
    for bucket in buckets:
        inside = [k for k, area in enumerate(areas) if bucket.smallest_area <= area <= bucket.largest_area]
        assert bucket.num_images == len(inside) > 0
        assert {bucket.smallest_area, bucket.largest_area} <= set(areas)
        assert bucket.num_right == sum(bool(right[k]) for k in inside)
        assert bucket.accuracy == bucket.num_right / len(inside)
        assert bucket.loss == pytest.approx(sum(losses[k] for k in inside) / len(inside))


def test_different_areas_are_divided_evenly() -> None:
    areas = np.random.default_rng(0).permutation(np.arange(1, 104))
    buckets = accuracy_by_size(areas, areas > 50, areas / 100.0)
    assert [bucket.num_images for bucket in buckets] == [21, 20, 21, 20, 21]
    assert [bucket.accuracy for bucket in buckets][0::4] == [0.0, 1.0]


def test_one_area_is_one_bucket() -> None:
    buckets = accuracy_by_size(np.full(9, 64), np.ones(9, bool), np.zeros(9))
    assert [(bucket.smallest_area, bucket.largest_area, bucket.num_images) for bucket in buckets] == [(64, 64, 9)]
