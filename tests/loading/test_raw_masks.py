"""Masks on the canvas: laid, split and handed to losses without a change."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from anysize.data.masks import IGNORED
from anysize.errors import RaggedError, UsageError
from anysize.loading import RawBatch
from anysize.losses import cross_entropy
from anysize.ragged import Padding, RaggedBatch, RaggedGroup

SIZES = [(5, 9), (1, 1), (12, 4), (7, 7), (12, 9)]
CPU = torch.device("cpu")


def batch(canvas: tuple[int, int] = (16, 16)) -> tuple[RawBatch, list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    masks = [rng.choice(np.array([0, 1, 2, 255], np.uint8), size) for size in SIZES]
    return RawBatch.from_arrays(images, canvas, masks, range(10, 15)), images, masks


def check(raw: RawBatch, masks: list[np.ndarray]) -> None:
    assert raw.targets is not None
    assert raw.targets.dtype == torch.uint8
    assert raw.targets.shape == (len(masks), *raw.canvas.shape[2:])
    for (height, width), laid, mask in zip(raw.sizes, raw.targets.numpy(), masks, strict=True):
        wanted = np.full(laid.shape, IGNORED)
        wanted[:height, :width] = mask
        assert np.array_equal(laid, wanted)


def test_masks_lie_where_their_images_do() -> None:
    raw, _, masks = batch()
    check(raw, masks)


@pytest.mark.parametrize("max_pixels", [1, 60, 108, 250, 400, 10_000])
def test_split_masks_stay_with_their_images(max_pixels: int) -> None:
    raw, images, masks = batch()
    parts = raw.split(max_pixels)
    assert [index for part in parts for index in part.indices] == [10, 11, 12, 13, 14]
    assert len(parts) == {1: 5, 10_000: 1}.get(max_pixels, len(parts))
    done = 0
    for part in parts:
        num = len(part.indices)
        check(part, masks[done : done + num])
        for place in range(num):
            height, width = part.sizes[place]
            pixels = part.canvas[place, :, :height, :width].permute(1, 2, 0).numpy()
            assert np.array_equal(pixels, images[done + place])
        done += num


def test_labels_are_those_of_from_labels() -> None:
    raw, _, masks = batch()
    labels = raw.labels(CPU)
    assert isinstance(labels, RaggedBatch)
    assert labels.canvas.dtype == torch.int64
    assert labels.padding is Padding.FINITE
    other = RaggedBatch.from_labels([torch.from_numpy(mask).long() for mask in masks], (16, 16))
    assert (labels.sizes, labels.layout, labels.extents) == (other.sizes, other.layout, other.extents)
    for one, two, mask in zip(labels.unbind(), other.unbind(), masks, strict=True):
        assert np.array_equal(one, mask)
        assert torch.equal(one, two)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_losses_of_both_are_alike(reduction: str) -> None:
    raw, _, masks = batch()
    other = RaggedBatch.from_labels([torch.from_numpy(mask).long() for mask in masks])
    gradients, losses = [], []
    for labels in (raw.labels(CPU), other):
        maps = [
            torch.randn(4, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for size in SIZES
        ]
        logits = [image.requires_grad_() for image in maps]
        loss = functional.cross_entropy(
            RaggedBatch.from_images(logits), labels, ignore_index=IGNORED, label_smoothing=0.1, reduction=reduction
        )
        parts = loss.unbind() if reduction == "none" else [loss]
        sum(part.sum() for part in parts).backward()
        gradients.append([image.grad for image in logits])
        losses.append(torch.cat([part.detach().ravel() for part in parts]))
    alone = 0.0
    for image, mask in zip(maps, masks, strict=True):
        target = torch.from_numpy(mask).long()[None]
        smooth = {"ignore_index": IGNORED, "label_smoothing": 0.1, "reduction": "sum"}
        alone += float(functional.cross_entropy(image.detach()[None], target, **smooth))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-14, atol=0)
    if reduction != "mean":
        assert float(losses[0].sum()) == pytest.approx(alone, rel=1e-12)
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-14, atol=0)


def test_sums_and_counts_of_groups() -> None:
    raw, _, masks = batch()
    logits = [torch.randn(4, *size) for size in SIZES]
    parts = raw.split(250)
    assert len(parts) > 1
    ends = np.cumsum([len(part.indices) for part in parts])
    starts = [0, *ends[:-1]]
    group = RaggedGroup([RaggedBatch.from_images(logits[a:b]) for a, b in zip(starts, ends, strict=True)])
    labels = RaggedGroup([part.labels(CPU) for part in parts])
    found = cross_entropy(group, labels, ignore_label=IGNORED)
    assert found.count == sum(int((mask != IGNORED).sum()) for mask in masks)
    whole = cross_entropy(RaggedBatch.from_images(logits, (16, 16)), raw.labels(CPU), ignore_label=IGNORED)
    torch.testing.assert_close(found.total, whole.total)


def test_a_canvas_of_labels_is_not_copied() -> None:
    canvas = torch.randint(0, 5, (3, 6, 8))
    labels = RaggedBatch.from_label_canvas(canvas, [(6, 8), (1, 2), (3, 3)])
    assert labels.canvas.data_ptr() == canvas.data_ptr()
    assert labels.padding is Padding.UNKNOWN
    before = canvas.clone()
    logits = RaggedBatch(torch.randn(3, 5, 6, 8), labels.sizes)
    functional.cross_entropy(logits, labels)
    labels.cleared() if labels.is_canonical else labels.zeroed()
    assert torch.equal(canvas, before)
    lines = RaggedBatch.from_label_canvas(torch.zeros(2, 7, dtype=torch.int64), [(7,), (3,)])
    assert [tuple(line.shape) for line in lines.unbind()] == [(7,), (3,)]
    with pytest.raises(RaggedError, match="image 1 of the batch is 7x1, the canvas 6x8: each length must be at least"):
        RaggedBatch.from_label_canvas(canvas, [(6, 8), (7, 1), (3, 3)])
    with pytest.raises(RaggedError, match="2 sizes were given for a canvas of 3 images"):
        RaggedBatch.from_label_canvas(canvas, [(6, 8), (5, 1)])


def test_classes_of_images_and_none_at_all() -> None:
    _, images, _ = batch()
    raw = RawBatch.from_arrays(images, (16, 16), [3, 1, 0, 2, 2], range(5))
    assert torch.equal(raw.labels(CPU), torch.tensor([3, 1, 0, 2, 2]))
    with pytest.raises(UsageError) as caught:
        RawBatch.from_arrays(images, (16, 16), None, range(5)).labels(CPU)
    assert str(caught.value) == (
        "a batch of 5 images has no targets; a class for each image, or masks, are needed\n"
        "hint: load labelled data: a folder for each class, or images with masks"
    )


def test_a_mask_of_another_size_is_refused() -> None:
    _, images, masks = batch()
    masks[1] = masks[0]
    with pytest.raises(UsageError) as caught:
        RawBatch.from_arrays(images, (16, 16), masks, range(10, 15))
    assert str(caught.value) == (
        "the mask of image 11 is 5x9 (height x width), and the image 1x1: one size is required\n"
        "hint: ImageDataset.load_pair gives both in one geometry"
    )
