"""Overlaps of label maps against loops, scikit-learn and torchmetrics."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.errors import UsageError
from anysize.metrics import ConfusionMatrix
from anysize.models.named import import_zoo


def random_maps(seed: int, num_classes: int, used: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth with ignored pixels and a prediction; only the first `used` classes occur in the truth."""
    random = np.random.default_rng(seed)
    size = tuple(random.integers(1, 20, 2))
    truth = random.integers(0, used, size).astype(np.uint8)
    prediction = np.where(random.random(size) < 0.5, truth, random.integers(0, num_classes, size)).astype(np.uint8)
    truth[random.random(size) < 0.2] = 255
    return truth, prediction


@given(seed=st.integers(0, 10**6), num_classes=st.integers(1, 6), data=st.data())
def test_against_a_loop_over_pixels(seed: int, num_classes: int, data: st.DataObject) -> None:
    used = data.draw(st.integers(1, num_classes))
    dtype = data.draw(st.sampled_from([np.uint8, np.int32, np.int64]))
    matrix = ConfusionMatrix(num_classes)
    pixels: list[tuple[int, int]] = []
    for part in range(2):
        truth, prediction = random_maps(seed + part, num_classes, used)
        matrix.update_map(truth, prediction.astype(dtype))
        pixels += [(int(t), int(p)) for t, p in zip(truth.flat, prediction.flat, strict=True) if t != 255]
    assert matrix.num_targets == len(pixels)
    overlaps, dices, recalls, weighted = [], [], [], 0.0
    for k in range(num_classes):
        both = sum(t == p == k for t, p in pixels)
        of_truth, of_prediction = sum(t == k for t, _ in pixels), sum(p == k for _, p in pixels)
        assert matrix.sums[:, k].tolist() == [both, of_truth, of_prediction]
        either = sum(k in pair for pair in pixels)
        if not either:
            assert math.isnan(matrix.iou[k])
            assert math.isnan(matrix.dice[k])
            continue
        overlaps.append(both / either)
        dices.append(2 * both / (of_truth + of_prediction))
        assert matrix.iou[k] == pytest.approx(overlaps[-1])
        assert matrix.dice[k] == pytest.approx(dices[-1])
        weighted += overlaps[-1] * of_truth / len(pixels)
        if of_truth:
            recalls.append(both / of_truth)
    if not pixels:
        assert all(math.isnan(value) for value in (matrix.mean_iou, matrix.mean_dice, matrix.mean_accuracy))
        assert math.isnan(matrix.frequency_weighted_iou)
        return
    assert matrix.mean_iou == pytest.approx(sum(overlaps) / len(overlaps))
    assert matrix.mean_dice == pytest.approx(sum(dices) / len(dices))
    assert matrix.mean_accuracy == pytest.approx(sum(recalls) / len(recalls))
    assert matrix.frequency_weighted_iou == pytest.approx(weighted)


def test_by_hand() -> None:
    """Class 1 is predicted and not there: 0, and counted; class 3 is nowhere: NaN, and left out."""
    matrix = ConfusionMatrix(4)
    matrix.update_map(
        np.array([[0, 0, 0, 2], [2, 255, 255, 2]], dtype=np.uint8), np.array([[0, 0, 1, 2], [0, 3, 9, 2]])
    )
    assert matrix.counts.tolist() == [[2, 1, 0, 0], [0, 0, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    assert matrix.iou[:3].tolist() == [0.5, 0.0, 2 / 3]
    assert math.isnan(matrix.iou[3])
    assert matrix.mean_iou == pytest.approx((0.5 + 0 + 2 / 3) / 3)
    assert matrix.mean_accuracy == pytest.approx(2 / 3), "class 1 has no truth, and no recall"
    assert matrix.frequency_weighted_iou == pytest.approx(0.5 * 0.5 + 0.5 * 2 / 3)


def counted(used: int) -> tuple[ConfusionMatrix, list[tuple[np.ndarray, np.ndarray]]]:
    """Five classes, of which some are absent from the truth, and a sixth that occurs nowhere."""
    matrix, maps = ConfusionMatrix(6), [random_maps(seed, 5, used) for seed in range(8)]
    for truth, prediction in maps:
        matrix.update_map(truth, prediction)
    return matrix, maps


@pytest.mark.parametrize("used", [5, 3])
def test_equal_to_scikit_learn(used: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    matrix, maps = counted(used)
    truth, prediction = (np.concatenate([pair[which][pair[0] != 255] for pair in maps]) for which in (0, 1))
    assert matrix.counts.tolist() == sklearn.confusion_matrix(truth, prediction, labels=range(6)).tolist()
    options = {"labels": range(5), "zero_division": 0.0}
    assert matrix.iou[:5] == pytest.approx(sklearn.jaccard_score(truth, prediction, average=None, **options))
    assert matrix.mean_iou == pytest.approx(sklearn.jaccard_score(truth, prediction, average="macro", **options))
    assert matrix.mean_dice == pytest.approx(sklearn.f1_score(truth, prediction, average="macro", **options))
    assert math.isnan(matrix.iou[5])


@pytest.mark.slow  # for what torchmetrics imports
@pytest.mark.parametrize("used", [5, 3])
def test_equal_to_torchmetrics(used: int) -> None:
    import_zoo("torchvision")  # torchmetrics imports it, and does not get far where it does not fit to torch
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    matrix, maps = counted(used)
    options = {"num_classes": 6, "ignore_index": 255}
    metrics = {
        "iou": classification.MulticlassJaccardIndex(average="macro", **options),
        "classes": classification.MulticlassJaccardIndex(average="none", **options),
        "weighted": classification.MulticlassJaccardIndex(average="weighted", **options),
        "dice": classification.MulticlassF1Score(average="macro", **options),
        "accuracy": classification.MulticlassAccuracy(average="micro", **options),
        "recall": classification.MulticlassAccuracy(average="macro", **options),
        "matrix": classification.MulticlassConfusionMatrix(**options),
    }
    for truth, prediction in maps:
        for metric in metrics.values():
            metric.update(torch.tensor(prediction, dtype=torch.long), torch.tensor(truth, dtype=torch.long))
    theirs = {name: metric.compute().numpy() for name, metric in metrics.items()}
    assert matrix.counts.tolist() == theirs["matrix"].tolist()
    assert matrix.mean_iou == pytest.approx(theirs["iou"], rel=1e-6)
    assert np.nan_to_num(matrix.iou) == pytest.approx(theirs["classes"], rel=1e-6)
    assert math.isnan(matrix.iou[5]), "torchmetrics lists 0 for it, and leaves it out of the mean as well"
    assert matrix.frequency_weighted_iou == pytest.approx(theirs["weighted"], rel=1e-6)
    assert matrix.mean_dice == pytest.approx(theirs["dice"], rel=1e-6)
    assert matrix.accuracy == pytest.approx(theirs["accuracy"], rel=1e-6)
    # A class that is predicted and absent has no recall; torchmetrics takes it for 0.
    assert matrix.mean_accuracy * used / 5 == pytest.approx(theirs["recall"], rel=1e-6)


def test_adding_parts_is_counting_all() -> None:
    whole, parts = ConfusionMatrix(3), [ConfusionMatrix(3) for _ in range(2)]
    for seed in range(4):
        maps = random_maps(seed, 3, 3)
        whole.update_map(*maps)
        parts[seed % 2].update_map(*maps)
    parts[0].add(parts[1])
    assert parts[0].counts.tolist() == whole.counts.tolist()
    with pytest.raises(UsageError) as caught:
        parts[0].add(ConfusionMatrix(4))
    assert caught.value.message == "a confusion matrix of 4 classes cannot be added to one of 3"


MASK = np.array([[0, 2], [255, 1]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("truth", "prediction", "message", "hint"),
    [
        (
            np.array([[0, 11], [255, 11]], dtype=np.uint8),
            MASK,
            "the truth holds 11 in 2 pixels; class indices must lie in 0..2, and 255 marks pixels to ignore",
            "masks are to be read with what their values mean: --ignore-label 11 if it marks pixels to ignore",
        ),
        (
            np.array([[3, 4], [255, 254]], dtype=np.uint8),
            MASK,
            "the truth holds 3, 4, 254 in 3 pixels; class indices must lie in 0..2, and 255 marks pixels to ignore",
            "masks are to be read with what their values mean: --ignore-label, --mask-values or --mask-palette",
        ),
        (
            MASK,
            np.array([[0, 3], [1, 1]], dtype=np.uint8),
            "the prediction holds 3 in 1 pixel; class indices must lie in 0..2",
            "take the argmax over the 3 channels of the logits",
        ),
        (
            MASK,
            np.array([[0, 256], [1, -1]]),
            "the prediction holds -1, 256 in 2 pixels; class indices must lie in 0..2",
            "take the argmax over the 3 channels of the logits",
        ),
        (
            MASK,
            np.zeros((4, 4), np.int64),
            "the truth is uint8 of shape (2, 2), the prediction int64 of shape (4, 4); uint8 and integers of one "
            "shape (H, W) are needed",
            "predict at the size of the mask; class indices are the argmax over the channels of the logits",
        ),
        (
            MASK,
            np.zeros((2, 2)),
            "the truth is uint8 of shape (2, 2), the prediction float64 of shape (2, 2); uint8 and integers of one "
            "shape (H, W) are needed",
            "predict at the size of the mask; class indices are the argmax over the channels of the logits",
        ),
    ],
)
def test_what_is_no_class_is_refused(truth: np.ndarray, prediction: np.ndarray, message: str, hint: str) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(UsageError) as caught:
        matrix.update_map(truth, prediction)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert matrix.num_targets == 0


def test_more_classes_than_a_byte_holds() -> None:
    ConfusionMatrix(255).update_map(MASK, MASK * 0)
    with pytest.raises(UsageError) as caught:
        ConfusionMatrix(256).update_map(MASK, MASK * 0)
    assert caught.value.message == "there are 256 classes; a label map holds at most 255, for 255 means ignored"


def test_an_empty_map_counts_nothing() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update_map(np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.int64))
    matrix.update_map(np.full((3, 4), 255, np.uint8), np.full((3, 4), -7))
    assert matrix.num_targets == 0
