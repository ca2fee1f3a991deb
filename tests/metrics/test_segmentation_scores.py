"""Scores in all, per image and by size against plain loops; ignored pixels change none of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.errors import UsageError
from anysize.metrics import ConfusionMatrix, SegmentationBucket, SegmentationScores


def maps(seed: int, num_images: int, num_classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(num_images):
        size = tuple(random.integers(1, 7, 2))
        truth = random.integers(0, num_classes, size).astype(np.uint8)
        truth[random.random(size) < 0.3] = 255
        pairs.append((truth, random.integers(0, num_classes, size).astype(np.uint8)))
    return pairs


def scores_of(pairs: list[tuple[np.ndarray, np.ndarray]], num_classes: int, order: list[int]) -> SegmentationScores:
    scores = SegmentationScores(num_classes)
    for index in order:
        scores.update(index, *pairs[index])
    return scores


@given(seed=st.integers(0, 10**6), num_images=st.integers(0, 12), num_classes=st.integers(1, 4), data=st.data())
def test_what_is_predicted_under_ignored_pixels_changes_no_metric(
    seed: int, num_images: int, num_classes: int, data: st.DataObject
) -> None:
    pairs = maps(seed, num_images, num_classes)
    noise = np.random.default_rng(seed + 1)
    poisoned = [
        (truth, np.where(truth == 255, noise.integers(-9, 300, truth.shape), prediction)) for truth, prediction in pairs
    ]
    order = data.draw(st.permutations(range(num_images)))
    one, other = scores_of(pairs, num_classes, order), scores_of(poisoned, num_classes, list(range(num_images)))
    assert one.confusion.counts.tolist() == other.confusion.counts.tolist()
    assert one.counts.tolist() == other.counts.tolist()
    assert repr(one.per_image()) == repr(other.per_image())
    assert repr(one.by_size(max_buckets=3)) == repr(other.by_size(max_buckets=3))


@given(seed=st.integers(0, 10**6), num_images=st.integers(1, 12), num_classes=st.integers(1, 4), data=st.data())
def test_against_one_matrix_for_each_image_and_bucket(
    seed: int, num_images: int, num_classes: int, data: st.DataObject
) -> None:
    pairs = maps(seed, num_images, num_classes)
    scores = scores_of(pairs, num_classes, data.draw(st.permutations(range(num_images))))
    assert scores.indices.tolist() == list(range(num_images)) == [row.index for row in scores.per_image()]
    assert scores.counts.shape == (num_images, 3, num_classes)
    for row, (truth, prediction) in zip(scores.per_image(), pairs, strict=True):
        assert row.num_pixels == truth.size
        assert row.ignored_share == pytest.approx((truth == 255).mean())
        counted = truth != 255
        right = (truth == prediction)[counted]
        assert row.accuracy == pytest.approx(right.mean() if counted.any() else math.nan, nan_ok=True)
        overlaps = []
        for k in set(truth[counted].tolist()):
            of_truth, of_prediction = (truth == k) & counted, (prediction == k) & counted
            overlaps.append((of_truth & of_prediction).sum() / (of_truth | of_prediction).sum())
        assert row.mean_iou == pytest.approx(np.mean(overlaps) if overlaps else math.nan, nan_ok=True)
    buckets = scores.by_size(max_buckets=3)
    assert sum(bucket.num_images for bucket in buckets) == num_images
    for bucket in buckets:
        matrix = ConfusionMatrix(num_classes)
        for truth, prediction in pairs:
            if bucket.smallest_area <= truth.size <= bucket.largest_area:
                matrix.update_map(truth, prediction)
        assert bucket.num_pixels == matrix.num_targets
        assert bucket.mean_iou == pytest.approx(matrix.mean_iou, nan_ok=True)
        assert bucket.accuracy == pytest.approx(matrix.accuracy, nan_ok=True)


def test_a_stray_pixel_of_an_absent_class() -> None:
    """It lowers the IoU of the class it stands on, and is a class of its own only over the data set."""
    scores = SegmentationScores(2)
    prediction = np.zeros((10, 10), np.uint8)
    prediction[0, 0] = 1
    scores.update(7, np.zeros((10, 10), np.uint8), prediction)
    assert scores.per_image()[0].mean_iou == 0.99
    assert scores.confusion.mean_iou == 0.495


def test_areas_of_the_data_set_are_looked_up_by_index() -> None:
    scores = SegmentationScores(2)
    for index in (4, 1):
        scores.update(index, np.full((2, 2), index == 4, np.uint8), np.ones((2, 2), np.uint8))
    areas = np.array([0, 900, 0, 0, 30])
    low, high = scores.by_size(areas, max_buckets=2)
    assert (low.smallest_area, low.mean_iou, low.accuracy) == (30, 1.0, 1.0)
    assert (high.largest_area, high.mean_iou, high.accuracy) == (900, 0.0, 0.0)


def bucket_of(num_images: int, right_share: float) -> SegmentationBucket:
    random = np.random.default_rng(5)
    scores = SegmentationScores(2)
    for index in range(num_images):
        truth = np.repeat(np.array([[0, 1]], np.uint8), 20, axis=0)
        wrong = random.random(truth.shape) > right_share * (0.7 + 0.6 * random.random())
        scores.update(index, truth, np.where(wrong, 1 - truth, truth))
    (bucket,) = scores.by_size()
    return bucket


def test_the_interval_holds_the_value_and_shrinks_with_more_images() -> None:
    few, many = bucket_of(6, 0.7), bucket_of(200, 0.7)
    for bucket in (few, many):
        assert 0 < bucket.mean_iou_low < bucket.mean_iou < bucket.mean_iou_high < 1
    # The width falls as the root of the number of images: by 5.8 from 6 to 200, and bootstraps of six are rough.
    ratio = (few.mean_iou_high - few.mean_iou_low) / (many.mean_iou_high - many.mean_iou_low)
    assert 3 < ratio < 11
    assert math.isnan(bucket_of(4, 0.7).mean_iou_low)


def test_every_image_counts_once() -> None:
    parts = [SegmentationScores(2) for _ in range(2)]
    truth = np.zeros((2, 3), np.uint8)
    for part, index in zip(parts, (3, 8), strict=True):
        part.update(index, truth, truth)
    with pytest.raises(UsageError) as caught:
        parts[0].update(3, truth, truth)
    assert caught.value.message == "image 3 was counted before; every image counts once"
    parts[0].add(parts[1])
    assert parts[0].indices.tolist() == [3, 8]
    assert parts[0].num_images == 2
    assert parts[0].confusion.num_targets == 12
    with pytest.raises(UsageError) as caught:
        parts[0].add(parts[1])
    assert caught.value.message == "image 8 is in both parts, as are 0 more; every image counts once"
