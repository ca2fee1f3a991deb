"""Matrix products over channels and over space against each image alone."""

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
_generator = torch.Generator().manual_seed(3)
WEIGHT = torch.randn(6, 4, generator=_generator, dtype=torch.float64)
SQUARE = torch.randn(4, 4, generator=_generator, dtype=torch.float64)
KERNEL = torch.randn(4, 4, 3, 3, generator=_generator, dtype=torch.float64)
BIAS = torch.randn(6, generator=_generator, dtype=torch.float64)


def tokens(x: Any) -> Any:
    return x.flatten(2).transpose(1, 2)


WITH_WEIGHT: dict[str, Callable[[Any, Tensor], Any]] = {
    "linear": lambda x, w: F.linear(x.permute(0, 2, 3, 1), w),
    "linear, bias": lambda x, w: F.linear(x.permute(0, 2, 3, 1), w, BIAS).permute(0, 3, 1, 2),
    "linear of tokens": lambda x, w: F.linear(tokens(x), w, bias=BIAS),
    "matmul": lambda x, w: torch.matmul(x.permute(0, 2, 3, 1), w.T),
    "@": lambda x, w: tokens(x) @ w.T,
    "@ a vector": lambda x, w: tokens(x) @ w[0],
    "plain @": lambda x, w: w @ x.flatten(2),
    "plain @, every image alike": lambda x, w: torch.matmul(w[None], x.flatten(2)),
}  # fmt: skip


def non_local(x: Any) -> Any:
    attention = torch.bmm(tokens(x), x.flatten(2) * 2) * 0.1
    return torch.bmm(attention, tokens(x)).permute(0, 2, 1).reshape(x.shape)


def position_attention(x: Any) -> Any:
    """MAnet: every pixel with every other, read anew as (N, C, H, W) with channels and space mixed."""
    b, c, h, w = x.shape
    maps = torch.matmul(tokens(x), x.flatten(2))
    maps = (maps.view(b, -1) * 0.1).view(b, h * w, h * w)
    return x + torch.matmul(maps, tokens(x)).reshape(b, c, h, w)


def global_context(x: Any) -> Any:
    b, c, h, w = x.shape
    attention = x[:, :1].reshape(b, 1, h * w).sigmoid().unsqueeze(3)
    context = x.reshape(b, c, h * w).unsqueeze(1) @ attention
    return x * context.view(b, c, 1, 1)


def heads(x: Any) -> Any:
    n, c, h, w = x.shape
    q = x.view(n, 2, c // 2, h * w)
    return ((q.transpose(-1, -2) @ q) @ q.transpose(-1, -2)).transpose(2, 3).reshape(n, c, h, w)


RAGGED: dict[str, Callable[[Any], Any]] = {
    "a map of channels": lambda x: x.flatten(2) @ tokens(x),
    "bmm over space": lambda x: torch.bmm(x.flatten(2), tokens(x) + 1),
    "sigmoid, then over space": lambda x: tokens(x).sigmoid().transpose(1, 2) @ tokens(x).sigmoid(),
    "rows": lambda x: x @ x.transpose(2, 3),
    "attention": lambda x: tokens(x) @ x.flatten(2),
    "attention, transposed": lambda x: (tokens(x) @ x.flatten(2)).transpose(1, 2) @ tokens(x),
    "attention with itself": lambda x: (tokens(x) @ x.flatten(2)) @ (tokens(x) @ x.flatten(2)),
    "pooled with all": lambda x: tokens(x) @ x[:, :, ::2, ::2].flatten(2),
    "non-local": non_local,
    "position attention": position_attention,
    "global context": global_context,
    "heads": heads,
}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", WITH_WEIGHT)
def test_with_a_plain_matrix(form: str, padding: str) -> None:
    check_alone(WITH_WEIGHT[form], SIZES, channels=4, operand=WEIGHT, padding=padding)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", RAGGED)
def test_with_each_other(form: str, padding: str) -> None:
    check_alone(RAGGED[form], SIZES, channels=4, padding=padding)


def test_other_layouts_sizes_and_the_gradient_in_the_padding() -> None:
    for form in WITH_WEIGHT.values():
        check_alone(lambda x, form=form: form(x, WEIGHT), SIZES, channels=4, channels_last=True)
        check_alone(lambda x, form=form: form(x, WEIGHT), [(4, 4)] * 2, channels=4)
        check_padding_gradient(lambda x, form=form: form(x, WEIGHT), SIZES, channels=4)
    for name, form in RAGGED.items():
        if name != "heads":  # its view is one of a contiguous tensor
            check_alone(form, SIZES, channels=4, channels_last=True)
        check_alone(form, [(4, 4)] * 2, channels=4)
        check_alone(form, [(5, 3)], channels=4)
        check_padding_gradient(form, SIZES, channels=4)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("form", [non_local, position_attention, global_context, heads])
def test_a_padded_convolution_behind(form: Callable[[Any], Any], padding: str) -> None:
    check_alone(lambda x: F.conv2d(form(x), KERNEL, padding=1), SIZES, channels=4, padding=padding)
    check_alone(
        lambda x, w: F.conv2d(F.linear(form(x).movedim(1, -1), w, BIAS[:4]).movedim(-1, 1), KERNEL, padding=1),
        SIZES, channels=4, operand=SQUARE, padding=padding,
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [LENGTHS, VOLUMES])
def test_one_and_three_axes(sizes: tuple[tuple[int, ...], ...]) -> None:
    for padding in PADDINGS:
        check_alone(lambda x, w: F.linear(x.movedim(1, -1), w), sizes, channels=4, operand=WEIGHT, padding=padding)
        check_alone(lambda x: x.flatten(2) @ tokens(x), sizes, channels=4, padding=padding)
        check_alone(lambda x: (tokens(x) @ x.flatten(2)) @ tokens(x), sizes, channels=4, padding=padding)


@given(sizes=drawn_sizes(1, 9), padding=st.sampled_from(PADDINGS))
@settings(max_examples=30, deadline=None)
def test_drawn_sizes(sizes: list[tuple[int, int]], padding: str) -> None:
    for form in (non_local, global_context, position_attention):
        check_alone(form, sizes, padding=padding)


class ConvNeXtLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.full((4,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).permute(0, 2, 3, 1)
        y = self.scale * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


def test_a_convnext_like_block() -> None:
    for sizes in AWKWARD_SIZES:
        for padding in PADDINGS:
            block = nn.Sequential(ConvNeXtLike(), ConvNeXtLike()).double()
            check_alone(block, sizes, channels=4, padding=padding)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's tracer looks at the canvas, which is no leaf
def test_compiled() -> None:
    check_compiled(ConvNeXtLike().double(), 4)
    check_compiled(non_local, 4)
