"""Padding around each image: constants, its own pixels, cut off, and by amounts computed from its own size."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from compiled import check_compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anysize.ragged import Padding, RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES, check_exact, random_images, randomise

SMALL = ((9, 14), (13, 7), (8, 8), (5, 5))

CONSTANTS: list[tuple[int, ...]] = [
    (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 2, 0), (3, 0, 0, 2), (2, 1), (0, 0, 0, 0), (-1, -2, -3, 0), (2, -1, -1, 3),
    (-2, 2, 1, -3), (1, 2, 0, 1, 1, 2), (0, 0, 0, 0, 2, 0), (0, 0, 0, 0, -1, 0),
]  # fmt: skip


def behind(channels: int) -> nn.Module:
    return randomise(nn.Conv2d(channels, 4, 3, padding=1).double(), seed=5)


def channels_of(pad: tuple[int, ...]) -> int:
    return 3 + sum(pad[4:])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("value", [None, 0.0, 2.5])
@pytest.mark.parametrize("pad", CONSTANTS, ids=str)
def test_constants(pad: tuple[int, ...], value: float | None, padding: str) -> None:
    conv = behind(channels_of(pad))
    check_alone(lambda x: F.pad(x, pad, value=value), AWKWARD_SIZES[0], padding=padding)
    check_alone(lambda x: conv(F.pad(x, pad, value=value)), SMALL, padding=padding, channels_last=True)


@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("pad", CONSTANTS, ids=str)
def test_constants_send_no_gradient_into_the_padding(pad: tuple[int, ...], value: float) -> None:
    check_padding_gradient(lambda x: F.pad(x, pad, value=value), SMALL)


@pytest.mark.parametrize("value", [-math.inf, math.inf, -1e300, torch.finfo(torch.float64).min])
def test_infinite_constants_leave_small_padding(value: float) -> None:
    batch = RaggedBatch.from_images(random_images(SMALL, 3))
    for pad in ((1, 0, 1, 0), (0, 1, 0, 1), (1, 2, 0, 0), (0, 0, 0, 0, 1, 0)):
        padded = F.pad(batch, pad, value=value)
        assert padded.padding is not Padding.UNKNOWN
        assert bool((padded.canvas[~padded.mask.expand_as(padded.canvas)].abs() < 1e5).all())
    conv = behind(3)
    sign = -1 if value > 0 else 1
    check_alone(lambda x: conv(sign * F.max_pool2d(sign * F.pad(x, (0, 1, 0, 1), value=value), 3, 2)), SMALL)


MOVED: list[tuple[str, tuple[int, ...]]] = [
    *((mode, pad) for mode in ("reflect", "replicate", "circular") for pad in ((1, 1, 1, 1), (4, 0, 1, 3))),
    ("replicate", (7, 9, 12, 6)),
    ("reflect", (2, -1, -1, 0)),
]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("mode", "pad"), MOVED, ids=str)
def test_pixels_of_the_image(mode: str, pad: tuple[int, ...], padding: str) -> None:
    conv = behind(3)
    check_alone(lambda x: conv(F.pad(x, pad, mode=mode)), AWKWARD_SIZES[0], padding=padding, channels_last=True)
    check_alone(lambda x: conv(F.pad(x, pad, mode=mode)), SMALL, padding=padding)
    check_padding_gradient(lambda x: F.pad(x, pad, mode), SMALL)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_convolutions_with_every_padding_mode(mode: str) -> None:
    for sizes in AWKWARD_SIZES:
        for options in ({"padding": 1}, {"padding": (2, 1), "stride": 2, "dilation": (1, 2)}, {"padding": "same"}):
            model = randomise(nn.Conv2d(3, 4, 3, padding_mode=mode, **options).double())
            check_exact(model, sizes, channels=3, poison=torch.nan)
    check_exact(randomise(nn.Conv1d(3, 4, 5, padding=2, padding_mode=mode)), LENGTHS, channels=3, poison=torch.inf)
    check_exact(randomise(nn.Conv3d(3, 4, 3, padding=1, padding_mode=mode)), VOLUMES, channels=3, poison=torch.inf)


def test_modules_over_one_and_three_axes() -> None:
    for layer in (nn.ZeroPad1d(2), nn.ConstantPad1d((1, 0), 3.0), nn.ReflectionPad1d(2), nn.CircularPad1d((3, 1))):
        check_alone(layer, LENGTHS, padding="nan")
    for layer in (nn.ZeroPad3d(1), nn.ConstantPad3d((1, 0, 2, 1, 0, 1), 3.0), nn.ReplicationPad3d(2)):
        check_alone(layer, VOLUMES, padding="nan")
    check_alone(lambda x: torch.constant_pad_nd(x, [1, 2], 3.0), AWKWARD_SIZES[0], padding="nan")


@settings(max_examples=40, deadline=None)
@given(
    sizes=drawn_sizes(4, 12), pad=st.tuples(*[st.integers(-1, 3)] * 4), value=st.sampled_from([0.0, 1.5]),
    mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]),
)  # fmt: skip
def test_any_size(sizes: Any, pad: tuple[int, ...], value: float, mode: str) -> None:
    options = {"value": value} if mode == "constant" else {"mode": mode}
    conv = behind(3)
    check_alone(lambda x: conv(F.pad(x, pad, **options)), sizes, padding="nan")


def same(length: Any, kernel: int, stride: int, dilation: int = 1) -> Any:
    """As networks ported from TensorFlow compute it."""
    return max((math.ceil(length / stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)


def padded_same(x: Any, kernel: int, stride: int, value: float = 0.0) -> Any:
    height, width = (same(length, kernel, stride) for length in x.size()[-2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2), value=value)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (7, 2), (4, 2), (5, 3), (2, 1)])
def test_same_padding_by_the_size_of_each_image(kernel: int, stride: int, padding: str) -> None:
    weight = torch.randn(4, 3, kernel, kernel, dtype=torch.float64)
    uses: list[Callable[[Any], Any]] = [
        lambda x: F.conv2d(padded_same(x, kernel, stride), weight, stride=stride),
        lambda x: F.max_pool2d(padded_same(x - 9.0, kernel, stride, -math.inf), kernel, stride),
        lambda x: F.avg_pool2d(padded_same(x, kernel, stride), kernel, stride),
    ]
    for use in uses:
        check_alone(use, AWKWARD_SIZES[0], padding=padding, channels_last=True)
        check_alone(use, AWKWARD_SIZES[4], padding=padding)


@pytest.mark.parametrize("value", [0.0, 2.0])
@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_to_a_multiple(padding: str, value: float) -> None:
    def padded(x: Any) -> Any:
        height, width = x.shape[-2:]
        return conv(F.pad(x, (0, (4 - width % 4) % 4, 0, -height % 4), value=value))

    conv = behind(3)
    check_alone(padded, AWKWARD_SIZES[0], padding=padding)
    check_alone(padded, AWKWARD_SIZES[4], padding=padding, channels_last=True)


@pytest.mark.parametrize("mode", ["constant", "replicate"])
def test_cutting_off_and_adding_by_the_size_of_each_image(mode: str) -> None:
    """What lies beyond the cut is no zero."""
    conv = behind(3)
    for padding in ("zero", "nan"):
        check_alone(
            lambda x: conv(F.pad(x, (0, 3 - x.shape[3] % 6, 0, 1 - x.shape[2] % 3), mode)), AWKWARD_SIZES[0],
            padding=padding,
        )  # fmt: skip


def test_groups() -> None:
    images = random_images(SMALL, 3)
    group = RaggedGroup([RaggedBatch.from_images(images[:2]), RaggedBatch.from_images(images[2:])])
    for call in (lambda x: padded_same(x, 3, 2), lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect")):
        for value, image in zip(call(group).unbind(), images, strict=True):
            assert torch.equal(value, call(image[None])[0])


@pytest.mark.parametrize(
    "options",
    [
        {"pad": (1, 2, 0, 1)},
        {"pad": (1, 2, -1, 1, 1, 0), "value": 3.0},
        {"pad": (0, 1, 0, 1), "value": -1e4},
        {"pad": (3, 1, 2, 2), "mode": "reflect"},
        {"pad": (5, 1, 2, 6), "mode": "replicate"},
        {"pad": (3, 1, 2, 4), "mode": "circular"},
    ],
    ids=str,
)
def test_compiled_pad(options: dict[str, Any]) -> None:
    check_compiled(lambda x: F.pad(x, **options))
