"""Permuted, merged, split and repeated axes against each image alone."""

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

from oracle import AWKWARD_SIZES

SIZES = ((5, 7), (8, 4), (8, 7), (1, 1))
WEIGHT = torch.randn(6, 6, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def shuffle(x: Any) -> Any:
    n, c, h, w = x.shape
    return x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, -1, h, w)


def through_tokens(x: Any) -> Any:
    n, c, h, w = x.shape
    return (x.flatten(2).transpose(1, 2) * 2).permute(0, 2, 1).reshape(n, c, h, w)


FORMS: dict[str, Callable[[Any], Any]] = {
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "permute, a tuple": lambda x: torch.permute(x, (0, 3, 1, 2)),
    "transpose": lambda x: x.transpose(1, -1),
    "space transposed": lambda x: x.transpose(2, 3),
    "swapaxes": lambda x: torch.swapaxes(x, 2, 1),
    "swapdims": lambda x: x.swapdims(dim0=1, dim1=3),
    "movedim": lambda x: x.movedim(1, -1),
    "moveaxis": lambda x: torch.moveaxis(x, (1, 2), (3, 1)),
    "there and back": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "flatten(2)": lambda x: x.flatten(2),
    "flatten(-2)": lambda x: torch.flatten(x, -2, -1),
    "nn.Flatten(2)": nn.Flatten(2),
    "view, -1": lambda x: x.view(x.shape[0], x.shape[1], -1),
    "view, product": lambda x: x.view(x.size(0), x.size(1), x.size(2) * x.size(3)),
    "reshape, a tuple": lambda x: x.reshape((x.shape[0], 2, -1, *x.shape[2:])),
    "reshape, images inferred": lambda x: torch.reshape(x, (-1, 3, 2, x.shape[2], x.shape[3])),
    "channel-last tokens": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1]),
    "tokens and back": through_tokens,
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "unflatten, -1": lambda x: torch.unflatten(x, 1, (3, -1)),
    "unflatten space": lambda x: x.flatten(2).unflatten(2, (x.shape[2], x.shape[3])),
    "nn.Unflatten": nn.Unflatten(1, (3, 2)),
    "shuffle": shuffle,
    "nn.ChannelShuffle": nn.ChannelShuffle(3),
    "F.channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "unsqueeze(-1)": lambda x: torch.unsqueeze(x, -1),
    "squeeze": lambda x: x.unsqueeze(2).squeeze(2),
    "squeeze of several": lambda x: x.unsqueeze(2).unsqueeze(-1).squeeze((2, -1)),
    "view_as": lambda x: x.flatten(2).view_as(x),
    "reshape_as": lambda x: x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2).reshape_as(x),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "tile": lambda x: torch.tile(x, (2, 1, 1)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=1),
    "roll": lambda x: torch.roll(x, 2, 1),
    "flip": lambda x: x.flip(1),
    "flip, a list": lambda x: torch.flip(x, [1]),
    "space and channels scrambled": lambda x: x.flatten(2).transpose(1, 2).reshape(x.shape),
    "all but images, after a pool": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "view after a pool": lambda x: F.adaptive_avg_pool2d(x, 1).view(x.shape[0], -1),
    "squeezes after a pool": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "a gate": lambda x: x * x.mean((2, 3), keepdim=True).view(x.shape[0], 1, -1).view(x.shape[0], -1, 1, 1).sigmoid(),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(x.shape) + x,
    "expand -1": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, x.size(2), x.size(3)).relu(),
    "expand_as": lambda x: x.mean((2, 3), keepdim=True).expand_as(x) * x,
    "plain expand_as": lambda x: x.mean((2, 3))[:, :, None, None].expand_as(x) * x,
    "channels expand": lambda x: x[:, :1].expand(-1, 6, -1, -1) + x,
    "identity": lambda x: x.view(x.shape),
}  # fmt: skip


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_with_anything_in_the_padding(form: str, padding: str) -> None:
    check_alone(FORMS[form], SIZES, channels=6, padding=padding)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_channels_last_equal_sizes_and_one_image(form: str) -> None:
    if "view" not in form and form not in ("shuffle", "a gate"):
        check_alone(FORMS[form], SIZES, channels=6, channels_last=True)
    check_alone(FORMS[form], [(4, 6)] * 3, channels=6)
    check_alone(FORMS[form], [(7, 5)], channels=6)


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"space transposed"}))
def test_a_zero_gradient_stays_zero(form: str) -> None:
    check_padding_gradient(FORMS[form], SIZES, channels=6)


BACK: dict[str, Callable[[Any], Any]] = {
    "shuffle": shuffle,
    "tokens and back": through_tokens,
    "space transposed": lambda x: x.transpose(2, 3),
    "flip": lambda x: x.flip(1),
    "scrambled": FORMS["space and channels scrambled"],
    "expand": FORMS["expand_as"],
    "repeat": lambda x: x[:, :2].repeat(1, 3, 1, 1),
    "expanded alone": lambda x: x.mean((2, 3), keepdim=True).expand(x.shape),
    "in place on a view": lambda x: F.relu_((x * 1).unsqueeze(1)).squeeze(1),
}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", BACK)
def test_a_padded_convolution_behind(form: str, padding: str) -> None:
    check_alone(lambda x: F.conv2d(BACK[form](x), WEIGHT, padding=1), SIZES, channels=6, padding=padding)


def in_place_reaches_the_parent(x: Any) -> Any:
    F.relu_(x.permute(0, 2, 3, 1))
    return x


def test_what_is_done_in_place_to_a_view_reaches_its_parent() -> None:
    for padding in ("zero", "finite"):
        check_alone(in_place_reaches_the_parent, SIZES, padding=padding)
    for padding in PADDINGS:  # on memory of the user's own it would be refused
        check_alone(lambda x: in_place_reaches_the_parent(x * 1.0), SIZES, padding=padding)


@pytest.mark.parametrize("padding", PADDINGS)
def test_space_to_depth_and_back(padding: str) -> None:
    def to_depth(x: Any) -> Any:
        n, c, h, w = x.size()
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).contiguous()
        return x.view(n, c * 4, h // 2, w // 2)

    def back(x: Any) -> Any:
        n, c, h, w = x.size()
        x = x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).contiguous()
        return x.view(n, c // 4, h * 2, w * 2)

    weight = torch.cat([WEIGHT] * 2, 1)
    sizes = ((6, 8), (2, 2), (10, 4), (8, 12))
    check_alone(to_depth, sizes, padding=padding)
    check_alone(lambda x: F.conv2d(to_depth(x), weight, padding=1), sizes, padding=padding)
    check_alone(lambda x: F.conv2d(back(to_depth(x)), WEIGHT[:, :3], padding=1), sizes, padding=padding)
    check_padding_gradient(lambda x: back(to_depth(x)), sizes)
    windows = ((6, 8), (4, 2), (10, 4))
    check_alone(lambda x: x.permute(0, 2, 3, 1).reshape(len(x), x.size(2) // 2, 2, x.size(3) // 2, 2, 3), windows)


@pytest.mark.parametrize("sizes", [LENGTHS, VOLUMES])
def test_one_and_three_axes(sizes: tuple[tuple[int, ...], ...]) -> None:
    axes = len(sizes[0])
    for form in (
        lambda x: x.movedim(1, -1),
        lambda x: x.transpose(1, 2),
        lambda x: x.flatten(2),
        lambda x: x.reshape(x.shape[0], 2, 2, *x.shape[2:]),
        lambda x: x.unsqueeze(2).squeeze(2),
        lambda x: x.mean(tuple(range(2, 2 + axes)), keepdim=True).expand_as(x) * x,
        lambda x: x.mean(tuple(range(2, 2 + axes)), keepdim=True).flatten(1),
        lambda x: x.flatten(2).transpose(1, 2).reshape(x.shape),
        lambda x: x.flatten(2).reshape(x.shape),
    ):
        for padding in PADDINGS:
            check_alone(form, sizes, channels=4, padding=padding)
    if axes == 3:
        check_alone(lambda x: x.flatten(2, 3), sizes, channels=4)
        check_alone(lambda x: x.flatten(3).flatten(2), sizes, channels=4)


@given(
    sizes=drawn_sizes(1), order=st.permutations([1, 2, 3]), start=st.integers(1, 3), padding=st.sampled_from(PADDINGS)
)
@settings(max_examples=40, deadline=None)
def test_drawn_orders(sizes: list[tuple[int, int]], order: list[int], start: int, padding: str) -> None:
    check_alone(lambda x: x.permute(0, *order), sizes, padding=padding)
    check_alone(lambda x: x.permute(0, *order).unsqueeze(start).squeeze(start), sizes, padding=padding)
    check_alone(lambda x: x.permute(0, *order).flatten(2), sizes, padding=padding)


class SplitAttention(nn.Module):
    """ResNeSt: radix groups, weighted by a softmax between them (`F.sigmoid` here)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 16, 3, padding=1, groups=2)
        self.fc1, self.fc2 = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 16, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        b, rc, h, w = x.shape
        parts = x.reshape((b, 2, rc // 2, h, w))
        total = parts[:, 0] + parts[:, 1]
        weight = self.fc2(self.fc1(total.mean((2, 3), keepdim=True)).relu())
        weight = weight.view(b, 2, 2, -1).transpose(1, 2).sigmoid().reshape(b, -1).view(b, -1, 1, 1)
        weighted = parts * weight.reshape((b, 2, rc // 2, 1, 1))
        return (weighted[:, 0] + weighted[:, 1]).contiguous()


class Shuffled(nn.Module):
    """ShuffleNet v2."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        out = torch.cat((first, self.branch(second)), dim=1)
        n, c, h, w = out.size()
        out = out.view(n, 2, c // 2, h, w)
        return torch.transpose(out, 1, 2).contiguous().view(n, c, h, w)


def test_split_attention_and_shuffled_blocks() -> None:
    for sizes in AWKWARD_SIZES[:4]:
        for padding in ("zero", "nan", "huge"):
            check_alone(SplitAttention().double(), sizes, channels=4, padding=padding)
            check_alone(nn.Sequential(Shuffled(), Shuffled()).double().eval(), sizes, channels=6, padding=padding)


COMPILED: dict[str, Callable[[Any], Any]] = {
    "permute": lambda x: F.linear(x.permute(0, 2, 3, 1), WEIGHT[:, :, 0, 0]).permute(0, 3, 1, 2),
    "shuffle": shuffle,
    "flatten": lambda x: x * x.mean((2, 3), keepdim=True).flatten(1)[:, :, None, None],
    "squeeze": lambda x: x * x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1)[:, :, None, None],
    "chunk and cat": lambda x: torch.cat([part * 2 for part in x.chunk(2, 1)][::-1], 1),
    "split": lambda x: F.conv2d(torch.cat([*x.split([2, 4], 1)][::-1], 1), WEIGHT, padding=1),
    "tokens and back": through_tokens,
    "gate": FORMS["a gate"],
    "expand": FORMS["expand"],
    "expand_as": FORMS["expand_as"],
}


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracer looks at the canvas, which is no leaf
@pytest.mark.parametrize("form", COMPILED)
def test_compiled(form: str) -> None:
    check_compiled(COMPILED[form], 6)
