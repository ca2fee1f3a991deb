"""What rearranging refuses, in full, and what it leaves as it is: layouts, views, memory."""

import operator
import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anysize.errors import ImageSizeError, MixedSizesError, UnsupportedOperatorError
from anysize.ragged import Padding, RaggedBatch, RaggedGroup

HINT = "\nhint: batch images of one size together, or write a rule: anysize.register_rule(function)"
GIVEN = " was given a ragged batch: "


def batch(*sizes: tuple[int, ...], channels: int = 2) -> RaggedBatch:
    return RaggedBatch.from_images([torch.randn(channels, *size) for size in sizes or ((5, 7), (8, 4), (3, 3))])


ONE_SIZE = (
    "flattening space into (N, C*H*W) needs images of one size, and these differ; pool each to one size first "
    "(nn.AdaptiveAvgPool2d), or keep space apart with flatten(2)"
)
CHANNELS_ONLY = "it is exact along channels only, not along axis"
IMAGES = "its first axis must stay that of the 3 images"
IN_FRONT = "in front, and the first axis must stay that of the images"
SUMS_SPACE = "it sums over space, of another length in each image; its plain operand has one length"

REFUSALS: list[tuple[str, Any, str]] = [
    ("torch.Tensor.permute", lambda x: x.permute(1, 0, 2, 3), f"it would put axis 1 {IN_FRONT}"),
    ("torch.transpose", lambda x: torch.transpose(x, 0, 2), f"it would put axis 2 {IN_FRONT}"),
    ("torch.Tensor.flatten", lambda x: x.flatten(1), ONE_SIZE),
    ("torch.Tensor.flatten", lambda x: x.flatten(), IMAGES),
    ("torch.Tensor.view", lambda x: x.view(3, -1), ONE_SIZE),
    (
        "torch.Tensor.view",
        lambda x: x.view(6, *x.shape[2:]),
        "its first axis would be 6 long, and must stay that of the 3 images",
    ),
    ("torch.Tensor.view", lambda x: x.view(3, 2, 9), "images of mixed sizes do not fit a shape of (N, 2, 9)"),
    ("torch.Tensor.view", lambda x: x.view(torch.int32), "reading its memory as another dtype has no exact rule"),
    ("torch.unflatten", lambda x: torch.unflatten(x, 0, (3, 1)), IMAGES),
    ("torch.Tensor.unsqueeze", lambda x: x.unsqueeze(0), "its first axis must stay that of the images"),
    (
        "torch.Tensor.expand",
        lambda x: x.expand(3, 2, 9, 9),
        "axis 2 is not 1 long in every image, and cannot be stretched",
    ),
    (
        "torch.Tensor.expand",
        lambda x: x.expand(1, 3, 2, *x.shape[2:]),
        f"it would put new axes {IN_FRONT}",
    ),
    ("torch.Tensor.repeat", lambda x: x.repeat(1, 1, 2, 1), f"{CHANNELS_ONLY} 2"),
    ("torch.Tensor.repeat", lambda x: x.repeat(2, 1, 1, 1), f"{CHANNELS_ONLY} 0"),
    ("torch.Tensor.flip", lambda x: x.flip(-1), f"{CHANNELS_ONLY} -1"),
    ("torch.roll", lambda x: torch.roll(x, 1, 2), f"{CHANNELS_ONLY} 2"),
    ("torch.roll", lambda x: torch.roll(x, 1), f"{CHANNELS_ONLY} None"),
    (
        "torch.rot90",
        lambda x: torch.rot90(x, 1, (2, 3)),
        "turned about the canvas, images of mixed sizes would leave their corner",
    ),
    (
        "torch.cat",
        lambda x: torch.cat([x, torch.zeros(3, 2, 1, 1)], 1),
        "a plain tensor of shape (3, 2, 1, 1) stands beside it, and has no size for each image",
    ),
    (
        "torch.cat",
        lambda x: torch.cat([x, x.transpose(1, 2)], 1),
        "its ragged batches have their axes in different orders",
    ),
    (
        "torch.Tensor.split",
        lambda x: x.split(1),
        "it would divide the images among batches; x[i:j] takes some of them",
    ),
    (
        "torch.Tensor.chunk",
        lambda x: x.chunk(2, 2),
        "axis 2 is space, which is not the same length in every image",
    ),
    ("torch.Tensor.index_select", lambda x: x.index_select(2, torch.tensor([0])), f"{CHANNELS_ONLY} 2"),
    (
        "torch.Tensor.__getitem__",
        lambda x: x[None],
        "a new axis would stand in front, and the first must stay that of the images",
    ),
    (
        "torch.Tensor.__getitem__",
        lambda x: x[torch.tensor([0, 1])],
        "images are taken by an int or a slice, not by a Tensor",
    ),
    ("torch.Tensor.__getitem__", lambda x: x[:, :, [0, 1]], "space is indexed by numbers and slices only"),
    (
        "torch.Tensor.__getitem__",
        lambda x: x[..., 5:],
        "it leaves nothing of an image, and a ragged batch has no empty images",
    ),
    ("torch.Tensor.__getitem__", lambda x: x[x.canvas > 0], "a mask takes other pixels in each image"),
    (
        "torch.Tensor.__setitem__",
        lambda x: x.__setitem__((slice(None), slice(None), 0), 1.0),
        "writing to some images or to a part of space has no exact rule",
    ),
    (
        "torch.Tensor.__setitem__",
        lambda x: x.__setitem__(slice(None), torch.zeros(2, 1, 1)),
        "writing a plain tensor has no exact rule; numbers and ragged batches have",
    ),
    (
        "torch.nn.functional.linear",
        lambda x: F.linear(x, torch.zeros(3, 7)),
        "its last axis is space, of another length in each image, and a weight has one length only",
    ),
    ("torch.matmul", lambda x: torch.matmul(x, torch.zeros(7, 2)), SUMS_SPACE),
    ("torch.matmul", lambda x: torch.matmul(torch.zeros(2, 8), x), SUMS_SPACE),
    (
        "torch.matmul",
        lambda x: torch.matmul(x, x),
        "it sums over an axis that is not the same in both of its ragged operands",
    ),
    (
        "torch.einsum",
        lambda x: torch.einsum("nchw,cd->ndhw", x, torch.zeros(2, 2)),
        "products other than matmul and linear have no exact rule",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call", "reason"), REFUSALS, ids=[f"{r[0]}-{n}" for n, r in enumerate(REFUSALS)])
def test_refusals(name: str, call: Any, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"^{re.escape(name + GIVEN + reason + HINT)}$"):
        call(batch())


def test_a_squeeze_that_some_images_would_feel() -> None:
    with pytest.raises(UnsupportedOperatorError, match="axis 3 is 1 long in some images and longer in others"):
        batch((5, 1), (4, 3)).squeeze(-1)
    assert batch((5, 2), (4, 3)).squeeze(-1).layout == ((), (), (0,), (1,))


def test_other_sizes() -> None:
    with pytest.raises(MixedSizesError) as caught:
        torch.cat([batch((5, 7), (8, 4)), batch((5, 7), (8, 5))], 1)
    assert str(caught.value) == (
        "cat was given two ragged batches whose image 1 is 8x4 in one and 8x5 in the other: each image must have one "
        "size in both\nhint: resize one to the other's sizes first"
    )
    with pytest.raises(
        MixedSizesError, match="cat was given two ragged batches whose image 0 is 5x7 in one and 1x1 in"
    ):
        torch.cat([batch((5, 7), (8, 4)), batch((1, 1), (1, 1))], 1)


def test_a_length_that_a_split_does_not_divide() -> None:
    x = batch((6, 8), (4, 5))
    with pytest.raises(ImageSizeError) as caught:
        x.view(2, 2, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    assert str(caught.value) == (
        "image 1 of the batch is 4x5 where it reaches view, which divides its length of 5 into parts of 2\n"
        "hint: crop or pad images so that what reaches this layer is a multiple of 2"
    )


def test_a_view_is_a_view_or_torch_s_own_error() -> None:
    x = batch()
    assert x.view(3, 2, -1).canvas.data_ptr() == x.canvas.data_ptr()
    assert x.permute(0, 2, 3, 1).canvas.data_ptr() == x.canvas.data_ptr()
    groups = batch(channels=4).unflatten(1, (2, 2)).transpose(1, 2)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        groups.view(3, 4, *groups.shape[3:])
    assert groups.reshape(3, 4, *groups.shape[3:]).is_canonical
    cropped = F.conv2d(x, torch.randn(2, 2, 1, 1))[:, :, :3, :3]
    assert cropped.view(3, 2, -1).shape[1] == 2  # an image alone would be viewed


def test_layouts() -> None:
    x = batch()
    assert x.permute(0, 2, 3, 1).layout == ((), (0,), (1,), ())
    assert x.permute(0, 3, 2, 1).shape[1].values == (7, 4, 3)
    assert x.transpose(2, 3).is_canonical
    assert x.transpose(2, 3).sizes == ((7, 5), (4, 8), (3, 3))
    tokens = x.flatten(2)
    assert tokens.layout == ((), (), (0, 1))
    assert tokens.shape[2].values == (35, 32, 9)
    maps = tokens.transpose(1, 2) @ tokens
    assert maps.layout == ((), (0, 1), (0, 1))
    assert [tuple(image.shape) for image in maps.unbind()] == [(35, 35), (32, 32), (9, 9)]
    assert maps.view(3, -1).layout == ((), (0, 1, 0, 1))


def test_images_of_one_size_are_an_ordinary_tensor() -> None:
    pooled = batch().mean((2, 3), keepdim=True)
    for plain in (pooled.flatten(1), pooled.view(3, -1), pooled.squeeze(-1).squeeze(-1), pooled[:, :, 0, 0]):
        assert isinstance(plain, torch.Tensor)
        assert plain.shape == (3, 2)
    assert isinstance(pooled.view(3, 2, 1, 1), RaggedBatch)
    assert isinstance(pooled.permute(0, 2, 3, 1), RaggedBatch)
    assert batch((4, 4), (4, 4)).flatten(1).shape == (2, 32)
    parts = RaggedGroup([batch((5, 7)), batch((4, 9), (2, 2))]).mean((2, 3), keepdim=True)
    assert parts.flatten(1).shape == (3, 2)
    assert parts.view(3, -1).shape == (3, 2)


def test_images_of_one_pixel_on_a_larger_canvas() -> None:
    x = RaggedBatch(torch.randn(2, 3, 4, 5), ((1, 1), (1, 1)))
    assert torch.equal(x.flatten(1), x.canvas[:, :, 0, 0])
    assert torch.equal(x.squeeze(), x.canvas[:, :, 0, 0])


def test_the_cut_off_pixels_of_a_slice_are_not_cleared() -> None:
    x = batch((5, 7), (8, 4))
    before = x.canvas.clone()
    cut = x[:, :, :-2]
    assert cut.padding is Padding.BORROWED
    F.conv2d(cut, torch.randn(2, 2, 3, 3), padding=1)
    assert torch.equal(x.canvas, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:, :, :-1].relu_(),
        lambda x: torch.nn.functional.relu(x[..., :-1], inplace=True),
        lambda x: x[:, :, :-1][:, :1].add_(1.0),
        lambda x: operator.iadd(x[..., :-1], 2.0),
        lambda x: x.mean((2, 3), keepdim=True).expand_as(x).mul_(2.0),
    ],
)
def test_nothing_works_in_place_on_memory_that_is_real_elsewhere(change: Any) -> None:
    """On a copy it would leave the other batch as it was, in silence."""
    images = [torch.randn(2, 4, 7), torch.randn(2, 6, 5)]
    batch = RaggedBatch.from_images(images)
    with pytest.raises(UnsupportedOperatorError) as caught:
        change(batch)
    assert str(caught.value) == (
        "an in-place operator was given a batch that is a slice or an expansion of another one: it cannot work on the "
        "memory that they share\nhint: work out of place: y = torch.relu(x[..., :-1]), y = x + 1"
    )
    assert all(torch.equal(a, b) for a, b in zip(batch.unbind(), images, strict=True))
    alike = RaggedBatch.from_images([images[0], images[0]])
    alike[:, :, :-1].relu_()  # an ordinary tensor is worked as one
    assert float(alike.canvas[:, :, :-1].min()) >= 0
    assert torch.equal(alike.canvas[:, :, -1], torch.stack([images[0][:, -1]] * 2))
