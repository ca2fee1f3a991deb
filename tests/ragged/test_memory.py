"""Memory that batches share, and what is refused where it cannot be shared: in-place operators as tensors have them."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import UnsupportedOperatorError
from anysize.ragged import Padding, RaggedBatch, RaggedGroup
from oracle import random_images

SIZES = ((5, 7), (3, 9), (2, 4))
WEIGHT = torch.ones(4, 4, 3, 3, dtype=torch.float64)


def _batch(*, unknown: bool = False) -> RaggedBatch:
    batch = RaggedBatch.from_images(random_images(SIZES, 4))
    if not unknown:
        return batch
    return RaggedBatch(torch.where(batch.mask, batch.canvas, torch.nan), SIZES)


def _overwritten_view(x):
    part = x.chunk(2, 1)[0]
    part.zero_()
    part.add_(1.0)
    return x * 1


def _filled_view(x):
    part = x.chunk(2, 1)[0]
    part.masked_fill_(part <= 0, -math.inf)
    part.clamp_(min=0.5)
    return x * 1


def _detached(x):
    x.detach().add_(1.0)
    return x * 1


def _contiguous(x):
    x.contiguous().add_(1.0)
    return x * 1


def _row(x):
    x[:, :, 1].mul_(2.0)
    return x * 1


def _view_convolved(x):
    x = x * 1
    x.chunk(2, 1)[0].add_(1.0)
    return functional.conv2d(x, WEIGHT, padding=1)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("function", [_overwritten_view, _filled_view, _detached, _row, _contiguous])
def test_views_of_memory_of_the_users_own_are_not_worked_in_place(function, inference):
    """It is never written to, and a copy would leave the batch as it was."""
    with torch.inference_mode(inference):
        batch = _batch(unknown=True)
        before = batch.canvas.clone()
        with pytest.raises(UnsupportedOperatorError, match="cannot work on the memory"):
            function(batch)
        assert torch.equal(batch.canvas.nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("function", [_overwritten_view, _filled_view, _detached, _contiguous, _row, _view_convolved])
def test_views_share_memory(function, inference, unknown):
    with torch.inference_mode(inference):
        batch = _batch(unknown=unknown)
        result = function(batch * 1 if unknown else batch)
        for got, image in zip(result.unbind(), random_images(SIZES, 4), strict=True):
            torch.testing.assert_close(got, function(image[None].clone())[0])


@pytest.mark.parametrize("copy", [lambda x: x.flatten(1, 2), lambda x: x[:, :, -1:], lambda x: x.reshape(3, -1, 1)])
def test_a_copy_that_stands_for_a_view_is_not_worked_in_place(copy):
    with pytest.raises(UnsupportedOperatorError, match="cannot work on the memory"):
        copy(_batch()).relu_()


def test_a_view_made_without_gradients_leaves_the_batch_in_autograd():
    leaf = _batch(unknown=True).canvas.requires_grad_()
    batch = RaggedBatch(leaf, SIZES)
    with torch.no_grad():
        batch.chunk(2, 1)
    assert batch.requires_grad
    other = _batch(unknown=True)
    with torch.inference_mode():
        other.chunk(2, 1)
    assert not other.canvas.is_inference()
    assert not other.mask.is_inference()


def test_a_canvas_of_equal_images_is_not_written_to():
    canvas = torch.ones(2, 3, 4, 5)
    RaggedBatch(canvas, ((4, 3), (4, 3))).floor_divide_(torch.full((3, 4, 3), 7.0))
    assert torch.equal(canvas, torch.ones(2, 3, 4, 5))


def test_unbinding_channels():
    parts = _batch().unbind(1)
    assert len(parts) == 4
    assert torch.equal(parts[2].unbind()[1], random_images(SIZES, 4)[1][2])


def test_extremes_of_minus_infinity():
    for function in (
        lambda x: x.masked_fill(x < 9, -math.inf).amax((2, 3)),
        lambda x: functional.adaptive_max_pool2d(x.masked_fill(x < 9, -math.inf), 1).flatten(1),
        lambda x: functional.max_pool2d(x.masked_fill(x < 9, -math.inf), 3, 1, 1).amax((2, 3)),
    ):
        assert bool((function(_batch()) == -math.inf).all())


def test_lengths_beside_other_dtypes():
    images = [(image * 4).to(torch.int32) for image in random_images(SIZES, 4)]
    assert (RaggedBatch.from_images(images) * _batch().shape[3]).dtype == torch.int32
    batch = _batch()
    for got, image in zip((batch * (batch.shape[3] / 3)).unbind(), random_images(SIZES, 4), strict=True):
        assert torch.equal(got, image * (image.shape[2] / 3))
    clamped = batch.clamp(max=batch.shape[3] / 10)
    assert [float(image.max()) <= size[1] / 10 for image, size in zip(clamped.unbind(), SIZES, strict=True)] == [
        True
    ] * 3
    half = RaggedBatch.from_images([torch.ones(1, 300, 300).half(), torch.ones(1, 200, 3).half()])
    with pytest.raises(UnsupportedOperatorError, match="a length of 90000 is infinite"):
        half / (half.shape[2] * half.shape[3])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_by_weight(reduction):
    loss = functional.mse_loss

    def pixels(seed: int) -> Tensor:
        return torch.cat([image.flatten() for image in random_images(SIZES, 4, seed)])

    x, y, weight = (RaggedBatch.from_images(random_images(SIZES, 4, seed)) for seed in (0, 1, 2))
    got = loss(x, y, weight=weight.abs(), reduction=reduction)
    torch.testing.assert_close(got, loss(pixels(0), pixels(1), weight=pixels(2).abs(), reduction=reduction))


def test_a_weight_that_torch_drops_is_refused():
    with pytest.raises(UnsupportedOperatorError, match="torch does not hand its weight on"):
        functional.l1_loss(_batch(), _batch(), weight=torch.ones(1, 4, 1, 1))


def test_a_rearranged_group_is_not_batch_normalised():
    group = RaggedGroup([RaggedBatch.from_images([torch.zeros(4, 4, width)]) for width in (5, 6)]).permute(0, 2, 3, 1)
    with pytest.raises(UnsupportedOperatorError, match="the axes of this batch were rearranged"):
        functional.batch_norm(group, torch.zeros(4), torch.ones(4))


def test_zeros_may_be_negative():
    signs = (-(_batch() * 1)).signbit()
    assert signs.padding < Padding.ZERO
