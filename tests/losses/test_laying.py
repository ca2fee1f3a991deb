"""What a loss takes, and what it refuses before any index goes astray."""

from typing import Any

import pytest
import torch
from test_every_loss import make

from anysize.errors import DataError, MixedSizesError, UsageError
from anysize.losses import create_objective, cross_entropy, list_losses
from anysize.ragged import RaggedBatch, RaggedGroup

LABEL_LOSSES = ("ce", "focal")


@pytest.mark.parametrize("name", list_losses())
def test_labels_of_whole_images(name: str) -> None:
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 2, 1, 255, 0, 1])
    if name not in LABEL_LOSSES:
        for call in (lambda: make(name, 3)(logits, targets), lambda: make(name, 3).count(targets)):
            with pytest.raises(UsageError) as caught:
                call()
            assert str(caught.value) == (
                f"{name} compares maps of classes, and here is one label for each image\n"
                "hint: ce and focal work on labels of whole images"
            )
        return
    result = make(name, 3)(logits, targets)
    maps = make(name, 3)(logits[:, :, None, None], targets[:, None, None])
    assert result.count == make(name, 3).count(targets) == 5
    assert float(result.total.detach()) == pytest.approx(float(maps.total.detach()), rel=1e-14)
    (gradient,) = torch.autograd.grad(result.total, logits)
    assert not gradient[3].any()
    assert gradient[2].any()


def test_cross_entropy_of_labels_is_the_function() -> None:
    """To the last bit: what a classifier learns does not depend on how its loss is asked for."""
    logits, targets = torch.randn(32, 10), torch.randint(0, 10, (32,))
    objective = create_objective("ce", num_classes=10, label_smoothing=0.1)
    assert objective.sums(logits, targets) == (cross_entropy(logits, targets, label_smoothing=0.1),)


def test_cross_entropy_of_maps_is_torchs() -> None:
    weights = torch.tensor([0.5, 1.0, 3.0])
    for format_ in (torch.contiguous_format, torch.channels_last):
        logits = torch.randn(2, 3, 6, 7).contiguous(memory_format=format_)
        targets = torch.randint(0, 3, (2, 6, 7))
        targets[0, :2] = 255
        for weight, smoothing in ((None, 0.0), (weights, 0.0), (weights, 0.2)):
            total, count = make("ce", 3, class_weights=weight, label_smoothing=smoothing)(logits, targets)
            truth = torch.nn.functional.cross_entropy(
                logits, targets, weight, ignore_index=255, label_smoothing=smoothing
            )
            torch.testing.assert_close(total / count, truth)


def test_plain_logits_beside_ragged_targets_of_one_size() -> None:
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    laid = RaggedBatch.from_labels(targets, canvas=(8, 8))
    for name in list_losses():
        assert make(name, 3)(logits, laid) == make(name, 3)(logits, targets)


def test_many_classes_and_bytes() -> None:
    """255 is ignored although there are so many classes; other bytes are all classes."""
    logits = torch.randn(1, 300, 2, 2)
    targets = torch.tensor([[[0, 254], [255, 17]]], dtype=torch.uint8)
    assert make("ce", 300)(logits, targets).count == 3
    assert make("ce", 300, ignore_label=None)(logits, targets).count == 4
    assert make("ce", 300, ignore_label=-100)(logits, targets).count == 4


def batch(*sizes: tuple[int, int], channels: int = 3) -> RaggedBatch:
    return RaggedBatch.from_images([torch.randn(channels, *size) for size in sizes])


def masks(*sizes: tuple[int, int], label: int = 0) -> RaggedBatch:
    return RaggedBatch.from_labels([torch.full(size, label) for size in sizes])


REFUSED: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "a class too many": (
        torch.randn(2, 3, 2, 2),
        torch.tensor([[[0, 1], [2, 255]], [[0, 4], [3, 3]]]),
        DataError,
        "image 1 of the batch has 3 pixels whose label is no class, such as 4: labels of 3 classes are 0 to 2, and 255 "
        "where ignored\nhint: --ignore-label 4 if it stands for pixels without a label, or a network with 5 classes or "
        "more",
    ),
    "negative": (
        batch((2, 2), (1, 1)),
        RaggedBatch.from_labels([torch.zeros(2, 2).long(), torch.full((1, 1), -100)]),
        DataError,
        "image 1 of the batch has 1 pixel whose label is no class, such as -100: labels of 3 classes are 0 to 2, and "
        "255 where ignored\nhint: --ignore-label -100 if it stands for pixels without a label",
    ),
    "in the second part of a group": (
        RaggedGroup([batch((2, 2), (1, 1)), batch((3, 3))]),
        RaggedGroup([masks((2, 2), (1, 1)), masks((3, 3), label=9)]),
        DataError,
        "image 2 of the batch has 9 pixels whose label is no class, such as 9: labels of 3 classes are 0 to 2, and 255 "
        "where ignored\nhint: --ignore-label 9 if it stands for pixels without a label, or a network with 10 classes "
        "or more",
    ),
    "a label of an image": (
        torch.randn(3, 3),
        torch.tensor([0, 5, 1]),
        DataError,
        "image 1 of the batch has the label 5: labels of 3 classes are 0 to 2, and 255 where ignored\n"
        "hint: a network with 6 classes or more",
    ),
    "another number of classes": (
        torch.randn(2, 4, 2, 2),
        torch.zeros(2, 2, 2).long(),
        UsageError,
        "the logits hold 4 classes (shape (2, 4, 2, 2)), the loss was made for 3: both must agree\n"
        "hint: a network with num_classes=3, or a loss with num_classes=4",
    ),
    "other sizes": (
        batch((2, 2), (4, 5)),
        masks((2, 2), (8, 10)),
        MixedSizesError,
        "the logits of image 1 are 4x5 and its targets 8x10: a loss compares them pixel by pixel\n"
        "hint: bring the logits to the images' size: F.interpolate(logits, size=images.shape[-2:])",
    ),
    "another shape": (
        torch.randn(2, 3, 4, 4),
        torch.zeros(2, 8, 8).long(),
        MixedSizesError,
        "the targets have shape (2, 8, 8) beside logits of shape (2, 3, 4, 4): (2, 4, 4) is required\n"
        "hint: the network must return maps of its images' sizes; lay label maps with RaggedBatch.from_labels(masks)",
    ),
    "maps beside labels": (
        torch.randn(2, 3),
        torch.zeros(2, 8, 8).long(),
        MixedSizesError,
        "the targets have shape (2, 8, 8) beside logits of shape (2, 3): (2,) is required\n"
        "hint: one class index an image",
    ),
    "one-hot": (
        torch.randn(2, 3, 4, 4),
        torch.zeros(2, 3, 4, 4).long(),
        MixedSizesError,
        "the targets have shape (2, 3, 4, 4) beside logits of shape (2, 3, 4, 4): (2, 4, 4) is required\n"
        "hint: the network must return maps of its images' sizes; lay label maps with RaggedBatch.from_labels(masks)",
    ),
    "fewer images": (
        batch((2, 2), (1, 1)),
        masks((2, 2)),
        UsageError,
        "the logits are of 2 images and the targets of 1: both must be divided into batches in the same way\n"
        "hint: one target an image; beside a RaggedGroup of logits, a RaggedGroup of targets",
    ),
    "a group beside a batch": (
        RaggedGroup([batch((2, 2)), batch((1, 1))]),
        masks((2, 2), (1, 1)),
        UsageError,
        "the logits are of 1 + 1 images and the targets of 2: both must be divided into batches in the same way\n"
        "hint: one target an image; beside a RaggedGroup of logits, a RaggedGroup of targets",
    ),
    "an axis of channels": (
        batch((2, 2)),
        RaggedBatch.from_images([torch.zeros(1, 2, 2).long()]),
        UsageError,
        "the targets have shape (1, 1, 2, 2), with an axis of channels; (N, *spatial) is required\n"
        "hint: lay label maps with RaggedBatch.from_labels(masks)",
    ),
    "probabilities": (
        torch.randn(1, 3, 2, 2),
        torch.rand(1, 2, 2),
        UsageError,
        "the targets are torch.float32; class indices in integers are required\nhint: targets.long()",
    ),
    "integers for logits": (
        torch.zeros(1, 3, 2, 2).long(),
        torch.zeros(1, 2, 2).long(),
        UsageError,
        "the logits are a torch.int64 tensor of shape (1, 3, 2, 2); floating-point numbers (N, K) or (N, K, *spatial) "
        "are required",
    ),
    "rearranged": (
        batch((2, 2)).permute(0, 2, 3, 1),
        masks((2, 2)),
        UsageError,
        "the axes of the logits were rearranged; a loss takes (N, K, *spatial)\nhint: logits.permute(0, 3, 1, 2)",
    ),
    "a mapping": (
        {"out": torch.randn(1, 3, 2, 2)},
        torch.zeros(1, 2, 2).long(),
        UsageError,
        "a loss was given a dict; a tensor, a RaggedBatch or a RaggedGroup is required\n"
        "hint: a network's mapping of outputs goes in one by one: loss(output['out'], targets)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    logits, targets, kind, message = REFUSED[case]
    with pytest.raises(kind) as caught:
        make("ce", 3)(logits, targets)
    assert str(caught.value) == message
    assert type(caught.value) is kind


def test_without_an_ignore_label() -> None:
    with pytest.raises(DataError, match=r"^image 0 of the batch has 1 pixel whose label is no class, such as 255: "
                       r"labels of 3 classes are 0 to 2\nhint: --ignore-label 255 if it stands"):  # fmt: skip
        make("dice", 3, ignore_label=None).count(torch.tensor([[[255, 0]]]))
