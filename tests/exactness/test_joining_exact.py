"""Concatenated, stacked, cut and indexed batches against each image alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from compiled import check_compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES, random_images

SIZES = ((5, 7), (8, 4), (8, 7), (3, 3))
WEIGHT = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
INDEX = torch.tensor([3, 0, 0])

FORMS: dict[str, Callable[[Any], Any]] = {
    "cat": lambda x: torch.cat([x, x * 2], 1),
    "concat": lambda x: torch.concat((x, x * 2, x), dim=1),
    "concatenate": lambda x: torch.concatenate([x, x * 2], axis=1),
    "cat, channels last": lambda x: torch.cat([x.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)], -1),
    "cat of tokens": lambda x: torch.cat([x.flatten(2), x.flatten(2)], 1),
    "cat of one pixel": lambda x: torch.cat([x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)], 1),
    "cat, expanded": lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1),
    "cat, other canvases": lambda x: torch.cat([F.conv2d(x, WEIGHT)[:, :, :2], F.max_pool2d(x, 3, 1)[:, :, :2]], 1),
    "cat over space": lambda x: torch.cat([x, x[:, :, :2]], 2),
    "stack": lambda x: torch.stack([x, x * 2], 1),
    "stack(-1)": lambda x: torch.stack((x, x * 2), dim=-1),
    "split": lambda x: x.split(3, 1)[1] * 2,
    "split, sections": lambda x: torch.split(x, [1, 3], dim=1)[1] * 2,
    "chunk": lambda x: torch.chunk(x, 2, 1)[0] * x.chunk(2, dim=1)[1],
    "tensor_split": lambda x: torch.tensor_split(x, (1, 3), dim=1)[1],
    "unbind": lambda x: torch.unbind(x, 1)[2],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "narrow space": lambda x: torch.narrow(x, 2, 1, 2),
    "select": lambda x: x.select(1, 2),
    "index_select": lambda x: torch.index_select(x, 1, INDEX),
    "x[:, 1:3]": lambda x: x[:, 1:3],
    "x[:, ::2]": lambda x: x[:, ::2],
    "x[:, -1]": lambda x: x[:, -1],
    "x[:, None]": lambda x: x[:, None],
    "x[..., None]": lambda x: x[..., None],
    "x[:, list]": lambda x: x[:, [2, 0]],
    "x[:, tensor]": lambda x: x[:, INDEX, :, :],
    "x[:, mask]": lambda x: x[:, torch.tensor([True, False, True, True])],
    "x[...]": lambda x: x[...],
    "x[:, :, 1:, 1:]": lambda x: x[:, :, 1:, 1:],
    "x[:, :, ::2, 1::2]": lambda x: x[:, :, ::2, 1::2],
    "x[:, :, :-1, 1:-1]": lambda x: x[:, :, :-1, 1:-1],
    "x[..., :2]": lambda x: x[..., :2],
    "x[..., :6]": lambda x: x[..., :6],
    "x[..., 1:9:3]": lambda x: x[..., 1:9:3],
    "x[..., -2:]": lambda x: x[..., -2:],
    "x[..., 0]": lambda x: x[..., 0],
    "x[:, :, -1]": lambda x: x[:, :, -1],
    "x[:, :, 1, 2]": lambda x: x[:, :, 1, 2],
    "x[:, :, h // 2:]": lambda x: x[:, :, x.shape[2] // 2 :],
    "x[:, :, :h - 1, :w // 2]": lambda x: x[:, :, : x.shape[2] - 1, : x.shape[3] // 2],
    "one pixel": lambda x: x.mean((2, 3), keepdim=True)[:, :, 0, 0],
    "one pixel of two": lambda x: x.mean((2, 3), keepdim=True)[..., 0].select(-1, 0),
    "channel-last": lambda x: x.permute(0, 2, 3, 1)[:, 1:, ::2, 1:3],
    "tokens": lambda x: x.flatten(2)[:, :2],
}  # fmt: skip


def written(x: Any) -> Any:
    y = x * 1
    y[:, 1:3] = x[:, :2] * 2
    y[:, 0] = 0.5
    y[:, 3:] = 1.0
    return y


FORMS["written"] = written
FORMS["iadd"] = lambda x: _added(x * 1)


def _added(x: Any) -> Any:
    x[:, :2] += 1
    return x


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_with_anything_in_the_padding(form: str, padding: str) -> None:
    check_alone(FORMS[form], SIZES, channels=4, padding=padding)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_channels_last_equal_sizes_and_one_image(form: str) -> None:
    check_alone(FORMS[form], SIZES, channels=4, channels_last=True)
    check_alone(FORMS[form], [(4, 6)] * 3, channels=4)
    check_alone(FORMS[form], [(7, 5)], channels=4)
    check_padding_gradient(FORMS[form], SIZES, channels=4)


BEHIND = ("cat", "cat, expanded", "cat over space", "chunk", "index_select", "x[:, :, 1:, 1:]", "x[:, :, ::2, 1::2]",
          "x[..., -2:]", "written", "iadd", "x[:, :, :-1, 1:-1]", "x[:, :, :h - 1, :w // 2]")  # fmt: skip


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", BEHIND)
def test_a_padded_convolution_behind(form: str, padding: str) -> None:
    def behind(x: Any) -> Any:
        y = FORMS[form](x)
        channels = y.shape[1]
        return F.conv2d(y, WEIGHT.repeat(1, 2, 1, 1)[:, :channels], padding=1)

    check_alone(behind, SIZES, channels=4, padding=padding)


@pytest.mark.parametrize("padding", PADDINGS)
def test_what_is_joined_is_finite(padding: str) -> None:
    kernel = torch.ones(2, 8, 1, 1, dtype=torch.float64)
    check_alone(lambda x, w: F.conv2d(torch.cat([x, x], 1), w), SIZES, channels=4, operand=kernel, padding=padding)


def test_a_batch_known_to_have_zeros_is_written_to_in_place() -> None:
    def call(x: Any) -> Any:
        y = F.max_pool2d(x, 3, 1, 1)  # leaves zeros
        first = y[:, :2]
        first += 1
        return F.conv2d(y, WEIGHT, padding=1)

    check_alone(call, SIZES, channels=4)


@pytest.mark.parametrize("sizes", [LENGTHS, VOLUMES])
def test_one_and_three_axes(sizes: tuple[tuple[int, ...], ...]) -> None:
    for form in ("cat", "stack", "chunk", "cat over space", "x[:, 1:3]", "x[..., None]", "x[..., :2]", "x[..., -2:]"):
        for padding in PADDINGS:
            check_alone(FORMS[form], sizes, channels=4, padding=padding)


@given(
    sizes=drawn_sizes(6, 12),
    start=st.one_of(st.none(), st.integers(-5, 5)),
    stop=st.one_of(st.none(), st.integers(-2, -1), st.integers(6, 14)),
    step=st.integers(1, 3),
    padding=st.sampled_from(PADDINGS),
)
@settings(max_examples=60, deadline=None)
def test_drawn_slices(sizes: Any, start: Any, stop: Any, step: int, padding: str) -> None:
    for size in sizes:
        for length in size:
            if not range(length)[start:stop:step]:
                return
    check_alone(lambda x: x[:, :, start:stop:step, start:stop], sizes, padding=padding)


def test_images_are_taken_and_appended() -> None:
    batch = RaggedBatch.from_images(random_images(SIZES, 2))
    images = batch.unbind()
    for index in (0, -1, 2):
        torch.testing.assert_close(batch[index], images[index])
    torch.testing.assert_close(batch[1, 0, 1:], images[1][0, 1:])
    for index in (slice(1, 3), slice(None, None, 2), slice(-1, None)):
        for mine, truth in zip(batch[index].unbind(), images[index], strict=True):
            torch.testing.assert_close(mine, truth)
    for mine, truth in zip(batch[1:3, :1].unbind(), images[1:3], strict=True):
        torch.testing.assert_close(mine, truth[:1])
    joined = torch.cat([batch, RaggedBatch.from_images(random_images(((9, 2), (1, 1)), 2, 1))])
    for mine, truth in zip(joined.unbind(), [*images, *random_images(((9, 2), (1, 1)), 2, 1)], strict=True):
        torch.testing.assert_close(mine, truth)
    assert [image.shape for image in torch.unbind(batch)] == [image.shape for image in images]


class Dense(nn.Module):
    """DenseNet and Inception in little: branches of one size joined, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(7, 2, 5, padding=2)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        maps.append(self.first(torch.cat(maps, 1)).relu())
        maps.append(self.second(torch.cat(maps, 1)).relu())
        return torch.cat(maps, 1)


def test_dense_blocks() -> None:
    for sizes in AWKWARD_SIZES:
        for padding in PADDINGS:
            check_alone(Dense().double(), sizes, channels=4, padding=padding)


def test_a_group() -> None:
    def model(x: Any) -> Any:
        n, c, h, w = x.shape
        first, second = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, -1, h, w).chunk(2, 1)
        joined = torch.cat([first, second, x], 1)[:, :, 1:, : w - 1].clone()
        joined[:, :1] = joined[:, 1:2] * 2
        gate = joined.mean((2, 3), keepdim=True)
        gated = joined * gate.view(n, -1, 1, 1) + gate.expand_as(joined)
        return gated.mean((2, 3), keepdim=True).flatten(1)

    images = random_images(SIZES, 4)
    group = RaggedGroup([RaggedBatch.from_images(images[:1]), RaggedBatch.from_images(images[1:])])
    truth = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(group), truth, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracer looks at the canvas, which is no leaf
@pytest.mark.parametrize("form", ["cat", "cat, expanded", "stack", "chunk", "x[:, 1:3]"])
def test_compiled(form: str) -> None:
    check_compiled(FORMS[form], 4)
