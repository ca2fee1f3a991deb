"""torch's losses of ragged maps against the same over the concatenation of all real pixels."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, drawn_sizes, with_padding
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional as F

from anysize.losses import cross_entropy
from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES

K = 4
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=torch.float64)
LABEL_LOSSES: dict[str, Any] = {
    "plain": F.cross_entropy,
    "weight": lambda x, t, **o: F.cross_entropy(x, t, WEIGHTS, **o),
    "ignore": lambda x, t, **o: F.cross_entropy(x, t, ignore_index=2, **o),
    "smoothing": lambda x, t, **o: F.cross_entropy(x, t, label_smoothing=0.2, **o),
    "all": lambda x, t, **o: F.cross_entropy(x, t, WEIGHTS, ignore_index=0, label_smoothing=0.1, **o),
    "nll": lambda x, t, **o: F.nll_loss(F.log_softmax(x, 1), t, **o),
    "nll_all": lambda x, t, **o: F.nll_loss(x, t, WEIGHTS, ignore_index=3, **o),
}
PIXEL_LOSSES: dict[str, Any] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "smooth_l1": lambda x, t, **o: F.smooth_l1_loss(x, t, beta=0.3, **o),
    "huber": lambda x, t, **o: F.huber_loss(x, t, delta=0.7, **o),
    "bce_logits": lambda x, t, **o: F.binary_cross_entropy_with_logits(x, t.sigmoid(), **o),
    "bce_pos_weight": lambda x, t, **o: F.binary_cross_entropy_with_logits(
        x, t.sigmoid(), pos_weight=WEIGHTS[:, None, None], **o
    ),
    "bce": lambda x, t, **o: F.binary_cross_entropy(x.sigmoid(), t.sigmoid(), **o),
    "kl_div": lambda x, t, **o: F.kl_div(F.log_softmax(x, 1), F.softmax(t, 1), **o),
    "kl_div_log": lambda x, t, **o: F.kl_div(F.log_softmax(x, 1), F.log_softmax(t, 1), log_target=True, **o),
    "probabilities": lambda x, t, **o: F.cross_entropy(x, F.softmax(t, 1), WEIGHTS, label_smoothing=0.1, **o),
}


def draw(sizes: Sequence[Sequence[int]], channels: int) -> list[Tensor]:
    return [torch.randn(channels, *size, dtype=torch.float64, requires_grad=True) for size in sizes]


def concatenated(images: Sequence[Tensor]) -> Tensor:
    """The pixels of all images as one: (1, C, pixels, 1)."""
    return torch.cat([image.flatten(1) for image in images], 1)[None, :, :, None]


def split(pixels: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The images of (1, *plain, pixels, 1)."""
    parts = pixels[0, ..., 0].split([torch.Size(size).numel() for size in sizes], dim=-1)
    return [part.unflatten(-1, tuple(size)) for part, size in zip(parts, sizes, strict=True)]


def compare(got: Any, truth: Tensor, leaves: list[Tensor], sizes: Any, *, scalar: bool) -> None:
    """Compare values, and the gradients of the leaves."""
    if scalar:
        pairs = [(got, truth)]
    else:
        pairs = list(zip(got.unbind(), split(truth, sizes), strict=True))
    for value, true in pairs:
        torch.testing.assert_close(value, true, rtol=1e-12, atol=1e-13)
    weights = [torch.randn_like(true) for _, true in pairs]
    gradients = []
    for number in range(2):
        total = sum((pair[number] * weight).sum() for pair, weight in zip(pairs, weights, strict=True))
        gradients.append(
            torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        )
    for mine, true in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_losses_of_labels(name: str, reduction: str) -> None:
    loss = LABEL_LOSSES[name]
    for number, sizes in enumerate((*AWKWARD_SIZES, LENGTHS, VOLUMES, ((1, 1), (5, 3)))):
        images = draw(sizes, K)
        labels = [torch.randint(0, K, tuple(size)) for size in sizes]
        logits = with_padding(RaggedBatch.from_images(images), PADDINGS[number % len(PADDINGS)])
        wider = [max(lengths) + 3 for lengths in zip(*sizes, strict=True)]
        masks = RaggedBatch.from_labels(labels, canvas=wider if number % 2 else None)
        plain = RaggedBatch.from_labels(labels).canvas.clone()
        plain[~logits.mask[:, 0]] = -7  # what a plain target holds there is not looked at
        truth = loss(concatenated(images), concatenated([x[None] for x in labels])[:, 0], reduction=reduction)
        for target in (masks, plain):
            compare(loss(logits, target, reduction=reduction), truth, images, sizes, scalar=reduction != "none")


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # kl_div, whose mean is not the divergence
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_losses_of_pixels(name: str, reduction: str) -> None:
    loss = PIXEL_LOSSES[name]
    for number, sizes in enumerate((*AWKWARD_SIZES, ((1, 1), (5, 3)))):
        images, wanted = draw(sizes, K), draw(sizes, K)
        padding = PADDINGS[number % len(PADDINGS)]
        batches = [with_padding(RaggedBatch.from_images(x), padding) for x in (images, wanted)]
        truth = loss(concatenated(images), concatenated(wanted), reduction=reduction)
        compare(loss(*batches, reduction=reduction), truth, images + wanted, sizes, scalar=reduction != "none")


def test_the_divergence_of_each_image() -> None:
    sizes = AWKWARD_SIZES[0]
    images, wanted = draw(sizes, K), draw(sizes, K)
    got = F.kl_div(
        RaggedBatch.from_images(images).log_softmax(1),
        RaggedBatch.from_images(wanted).softmax(1),
        reduction="batchmean",
    )
    truth = sum(F.kl_div(x.log_softmax(0), t.softmax(0), reduction="sum") for x, t in zip(images, wanted, strict=True))
    compare(got, truth / len(sizes), images + wanted, sizes, scalar=True)


def test_a_plain_target_on_the_canvas() -> None:
    sizes = AWKWARD_SIZES[0]
    images, wanted = draw(sizes, 2), draw(sizes, 2)
    target = RaggedBatch.from_images(wanted)
    canvas = torch.where(target.mask, target.canvas, torch.nan)
    compare(
        F.mse_loss(RaggedBatch.from_images(images), canvas), F.mse_loss(concatenated(images), concatenated(wanted)),
        images + wanted, sizes, scalar=True,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(sizes=drawn_sizes(1))
def test_losses_of_any_size(sizes: list[tuple[int, int]]) -> None:
    images = draw(sizes, K)
    labels = [torch.randint(0, K, size) for size in sizes]
    logits = with_padding(RaggedBatch.from_images(images), "nan")
    truth = F.cross_entropy(concatenated(images), concatenated([x[None] for x in labels])[:, 0], WEIGHTS)
    compare(F.cross_entropy(logits, RaggedBatch.from_labels(labels), WEIGHTS), truth, images, sizes, scalar=True)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", [*LABEL_LOSSES, "mse", "bce_pos_weight"])
def test_groups(name: str, reduction: str) -> None:
    """Two canvases count as one batch: sums over the parts, then one division."""
    sizes = AWKWARD_SIZES[4]
    images, wanted = draw(sizes, K), draw(sizes, K)
    labels = [torch.randint(0, K, tuple(size)) for size in sizes]

    def group(items: list[Tensor], make: Any) -> RaggedGroup:
        return RaggedGroup([make(items[:2]), make(items[2:])])

    logits = group(images, RaggedBatch.from_images)
    if name in LABEL_LOSSES:
        got = LABEL_LOSSES[name](logits, group(labels, RaggedBatch.from_labels), reduction=reduction)
        pixels = concatenated([x[None] for x in labels])[:, 0]
        truth = LABEL_LOSSES[name](concatenated(images), pixels, reduction=reduction)
    else:
        got = PIXEL_LOSSES[name](logits, group(wanted, RaggedBatch.from_images), reduction=reduction)
        truth = PIXEL_LOSSES[name](concatenated(images), concatenated(wanted), reduction=reduction)
    compare(got, truth, images, sizes, scalar=True)


@pytest.mark.parametrize("ignore", [None, 1])
def test_the_sum_and_the_count_of_maps(ignore: int | None) -> None:
    sizes = AWKWARD_SIZES[0]
    images = draw(sizes, K)
    labels = [torch.randint(0, K, tuple(size)) for size in sizes]
    batches = RaggedBatch.from_images(images), RaggedBatch.from_labels(labels)
    groups = [RaggedGroup([make(x[:1]), make(x[1:])]) for make, x in
              ((RaggedBatch.from_images, images), (RaggedBatch.from_labels, labels))]  # fmt: skip
    pixels = concatenated([x[None] for x in labels])[:, 0]
    truth = F.cross_entropy(
        concatenated(images), pixels, reduction="sum", label_smoothing=0.1, ignore_index=-100 if ignore is None else 1
    )
    for logits, targets in (batches, groups, (batches[0], batches[1].canvas), (concatenated(images), pixels)):
        total, count = cross_entropy(logits, targets, label_smoothing=0.1, ignore_label=ignore)
        assert count == int((pixels != (-100 if ignore is None else ignore)).sum())
        compare(total, truth, images, sizes, scalar=True)
