"""The hardest pixels of each image: which ones they are, and what becomes of the others' targets."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_formulas import IGNORED, pixels_of
from test_every_loss import KINDS, draw, laid, make, tensors

from anysize.errors import UsageError
from anysize.losses import list_losses, sample_hardest
from anysize.losses.sampling import num_hardest
from anysize.ragged import RaggedBatch, RaggedGroup

SIZES = ((3, 5), (4, 2), (1, 1), (7, 6))


def chosen(image: Any, share: float) -> np.ndarray:
    """The targets that are left, by sorting."""
    logits, targets = image
    ranked = sorted(pixels_of(image), key=lambda pixel: pixel[0][pixel[1]])
    number = math.ceil(round(share * len(ranked), 6))
    left = np.full_like(targets, IGNORED)
    powers = np.exp(logits - logits.max(0))
    p = powers / powers.sum(0)
    for place in np.ndindex(targets.shape):
        if (
            targets[place] != IGNORED
            and number
            and p[(targets[place], *place)] <= ranked[number - 1][0][ranked[number - 1][1]] * (1 + 1e-12)
        ):
            left[place] = targets[place]
    return left


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(share=st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9, 1.0]), ignored=st.sampled_from([0.0, 0.4, 1.0]),
       seed=st.integers(0, 1000))  # fmt: skip
def test_the_hardest_of_each_image_are_left(kind: str, share: float, ignored: float, seed: int) -> None:
    images = draw(SIZES, seed, ignored)
    x, t = laid(*tensors(images), kind)
    result = sample_hardest(x, t, share)
    assert type(result) is type(t)
    assert result.dtype == t.dtype
    maps = result.unbind()
    for found, image in zip(maps, images, strict=True):
        found = found[tuple(slice(0, extent) for extent in image[1].shape)]
        np.testing.assert_array_equal(found.numpy(), chosen(image, share))
    if not isinstance(t, RaggedBatch | RaggedGroup):
        assert int((result != IGNORED).sum()) == sum(num_hardest(share, len(pixels_of(image))) for image in images)


@pytest.mark.parametrize("name", list_losses())
def test_gradients_are_exact_over_what_was_sampled(name: str) -> None:
    """The same as with the targets chosen beforehand; the loss does not know the difference."""
    images = draw(SIZES, seed=1)
    logits, targets = tensors(images)
    x, t = laid(logits, targets, "ragged")
    mine = make(name)(x, sample_hardest(x, t, 0.5))
    few = [torch.from_numpy(chosen(image, 0.5)) for image in images]
    truth = make(name)(*laid(logits, few, "ragged"))
    assert mine == truth
    assert mine.count > 0
    for one, other in zip(*(torch.autograd.grad(r.total, logits) for r in (mine, truth)), strict=True):
        assert torch.equal(one, other)


def test_ohem_is_cross_entropy_of_the_sample() -> None:
    logits, targets = tensors(draw(SIZES, seed=2))
    x, t = laid(logits, targets, "group")
    assert make("ohem", options={"share": 0.3})(x, t) == make("ce")(x, sample_hardest(x, t, 0.3))


def test_the_number_of_hardest_is_not_a_matter_of_rounding() -> None:
    for number in range(1, 400):
        for percent in range(1, 101):
            assert num_hardest(percent / 100, number) == -(-percent * number // 100)
    assert num_hardest(1e-9, 5) == 1


def test_among_equals_the_first_whatever_the_canvas() -> None:
    logits, targets = torch.zeros(3, 4, 5), torch.arange(20).reshape(4, 5) % 3
    wanted = torch.where(torch.arange(20).reshape(4, 5) < 5, targets, IGNORED)
    for others in ([], [(9, 9)], [(2, 17), (4, 4)]):
        x = RaggedBatch.from_images([logits, *(torch.randn(3, *size) for size in others)])
        t = RaggedBatch.from_labels([targets, *(torch.zeros(size, dtype=torch.int64) for size in others)])
        assert torch.equal(sample_hardest(x, t, 0.25).unbind()[0], wanted)


def test_a_pixel_that_is_not_finite_is_hardest() -> None:
    logits, targets = torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    logits[0, 1, 2, 3] = torch.nan
    assert sample_hardest(logits, targets, 0.01)[0, 2, 3] == 0
    assert make("ohem", 3)(logits, targets).total.isnan()


def test_lists_beside_a_group() -> None:
    logits, targets = tensors(draw(SIZES))
    x, t = laid(logits, targets, "group")
    plain = [torch.where(part.mask, part.canvas, IGNORED) for part in t.parts]
    result = sample_hardest(x, plain, 0.5)
    assert isinstance(result, list)
    assert make("ce")(x, result) == make("ce")(x, sample_hardest(x, t, 0.5))
    assert make("ce").count(result) == make("ce").count(sample_hardest(x, t, 0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3).long(), 0.0),
         "the share of hardest pixels is 0; above 0 and at most 1 is required"),
        ((torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3).long(), float("nan")),
         "the share of hardest pixels is nan; above 0 and at most 1 is required"),
        ((torch.randn(4, 2), torch.zeros(4).long(), 0.5),
         "the hardest pixels were asked for of targets that hold one label for each image; maps are required"),
        ((torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3).byte(), 0.5, -1),
         "the ignore label is -1, which targets of torch.uint8 cannot hold\n"
         "hint: targets.long(), or ignore_label=255"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        sample_hardest(*arguments)
    assert str(caught.value) == message
