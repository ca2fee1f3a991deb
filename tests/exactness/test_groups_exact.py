"""A group of canvases goes through a network as one: the same as the images one by one, batch norm over all of them."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from anysize.errors import MixedSizesError, RaggedError, UnsupportedOperatorError
from anysize.models import create_model
from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import OneByOne, random_images, randomise, relative_error

SIZES = ((24, 24), (40, 17), (23, 60), (9, 9), (33, 34))
CUTS = ((5,), (2, 3), (1, 1, 3), (1, 1, 1, 1, 1))


class Gated(nn.Module):
    """Squeeze and excite: a plain tensor with one entry an image meets the maps again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv(images)).relu()
        return (maps * self.gate(maps) + 1.0).mean((2, 3))


def grouped(images: list[Tensor], cut: tuple[int, ...]) -> RaggedGroup:
    parts, start = [], 0
    for length in cut:
        parts.append(RaggedBatch.from_images(images[start : start + length]))
        start += length
    return RaggedGroup(parts)


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["resnet9", "fcn_small", "gated"])
def test_a_group_is_the_images_one_by_one(name: str, training: bool, cut: tuple[int, ...]) -> None:
    options = {"width": 8} if name == "resnet9" else {}
    model = Gated() if name == "gated" else create_model(name, num_classes=4, in_channels=3, **options)
    mine = randomise(model.double()).train(training)
    truth = copy.deepcopy(mine)
    leaves = [[image.clone().requires_grad_() for image in random_images(SIZES, 3)] for _ in range(2)]
    value = mine(grouped(leaves[0], cut))
    output = truth(OneByOne([image[None] for image in leaves[1]]))
    expected = torch.cat(output.images)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert relative_error(value.detach(), expected.detach()) <= 1e-12
    (value * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(*leaves, strict=True):
        assert relative_error(a.grad, b.grad) <= 1e-11
    scale = max(float(p.grad.abs().max()) for p in truth.parameters())
    for a, b in zip(mine.parameters(), truth.parameters(), strict=True):
        assert relative_error(a.grad, b.grad, scale) <= 1e-12
    for a, b in zip(mine.buffers(), truth.buffers(), strict=True):
        assert relative_error(a.double(), b.double()) <= 1e-12


def test_batch_norm_does_not_care_how_the_images_are_cut() -> None:
    images = [image * 3 + 1e3 for image in random_images(SIZES, 6)]
    results = []
    for cut in CUTS:
        norm = nn.BatchNorm2d(6).double()
        maps = norm(grouped(images, cut)).unbind()
        results.append((torch.cat([image.flatten() for image in maps]).detach(), norm.running_var.clone()))
    for values, running in results[1:]:
        assert relative_error(values, results[0][0]) <= 1e-10  # the mean is 300 times the deviation
        assert relative_error(running, results[0][1]) <= 1e-10


def test_in_place_operators_change_the_group_that_was_passed() -> None:
    group = grouped(random_images(SIZES, 3), (2, 3))
    assert nn.ReLU(inplace=True)(group) is group
    assert min(float(image.min()) for image in group.unbind()) == 0.0


def test_a_group_tells_its_shape_and_travels() -> None:
    group = grouped(random_images(SIZES, 3), (2, 3))
    assert len(group) == 5
    assert group.dim() == 4
    assert group.shape[:2] == (5, 3)
    assert group.size(2).values == (24, 40, 23, 9, 33)
    assert group.num_real == sum(height * width for height, width in SIZES)
    again = pickle.loads(pickle.dumps(group))  # noqa: S301 - our own
    assert again.sizes == group.sizes == SIZES
    assert all(torch.equal(a, b) for a, b in zip(again.unbind(), group.unbind(), strict=True))


def test_groups_that_do_not_fit_are_refused() -> None:
    images = random_images(SIZES, 3)
    with pytest.raises(RaggedError) as no_part:
        RaggedGroup([])
    assert str(no_part.value) == "a group of no ragged batch was asked for\nhint: pass one batch or more"
    other = RaggedBatch.from_images(random_images(SIZES[:1], 4))
    with pytest.raises(RaggedError) as differ:
        RaggedGroup([RaggedBatch.from_images(images), other])
    assert str(differ.value) == (
        "part 1 of the group has (axes, channels, dtype, device) (4, 4, torch.float64, device(type='cpu')), part 0 has "
        "(4, 3, torch.float64, device(type='cpu')): all must agree\nhint: convert the parts before grouping them"
    )
    with pytest.raises(UnsupportedOperatorError, match="its groups are divided into parts in different ways"):
        grouped(images, (2, 3)) + grouped(images, (3, 2))
    with pytest.raises(UnsupportedOperatorError, match="a group and a single batch have no exact rule together"):
        grouped(images, (2, 3)) + RaggedBatch.from_images(images)
    with pytest.raises(UnsupportedOperatorError, match="no rule says how it works on images of mixed sizes"):
        torch.fft.fft2(grouped(images, (2, 3)))


def test_lengths_are_cut_with_the_group() -> None:
    """A mean over space written by hand: the sum over the product of the lengths."""
    images = random_images(SIZES, 3)
    expected = torch.stack([image.mean((1, 2)) for image in images])
    for batch in (RaggedBatch.from_images(images), grouped(images, (2, 3))):
        area = batch.shape[2] * batch.shape[3]
        assert relative_error((batch.sum((2, 3), keepdim=True) / area).flatten(1), expected) <= 1e-12
        assert relative_error((batch / area).sum((2, 3)), expected) <= 1e-12


def test_lengths_do_not_guess_what_a_plain_tensor_is() -> None:
    """Five images, five channels: a weight of five entries is no number an image."""
    batch = RaggedBatch.from_images(random_images(SIZES, 5))
    for tensor in (torch.ones(5), torch.ones(5, 5), torch.ones(5, 5, 1, 1), torch.tensor(2.0)):
        with pytest.raises(MixedSizesError, match="whether its first axis is the images' cannot be known"):
            tensor * batch.shape[2]
        with pytest.raises(MixedSizesError, match="met a plain tensor"):
            batch.shape[2] / tensor
    alike = RaggedBatch.from_images(random_images(((4, 6), (4, 6)), 2))
    assert torch.equal(torch.ones(2) * alike.shape[2], torch.full((2,), 4.0))


def test_a_group_moves_part_by_part() -> None:
    group = grouped(random_images(SIZES, 3), (2, 3))
    moved = group.to("cpu", torch.float32, non_blocking=True)
    assert isinstance(moved, RaggedGroup)
    assert moved.dtype == torch.float32
    for image, source in zip(moved.unbind(), group.unbind(), strict=True):
        assert torch.equal(image, source.float())
    with pytest.raises(TypeError):
        group.to(bogus=1)
