"""The "same" padding of Keras, by the size of each image: odd and even ones of one batch together."""

import copy
from typing import Any

import pytest
import torch
from alone import PADDINGS, check_alone
from compiled import check_compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from anysize.models.layers import SameConv2d, SameMaxPool2d, SeparableConv2d, same_amounts
from oracle import AWKWARD_SIZES, OneByOne, check_exact, randomise

MIXED = ((1, 1), (2, 7), (7, 2), (13, 8), (1, 6), (17, 11), (12, 12), (3, 5))  # 1, 2, primes, both parities
EVEN = ((6, 8), (12, 4))
STRIDED = [
    (kernel, stride, dilation)
    for kernel in (1, 2, 3, 5, 7)
    for stride in (2, 3)
    for dilation in (1, 2)
    if kernel > 1 or dilation == 1
]


class Alone(nn.Module):
    """A layer that asks its input for its size: the oracle's images it sees one by one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = randomise(layer)

    def forward(self, x: Any) -> Any:
        return OneByOne([self.layer(image) for image in x.images]) if isinstance(x, OneByOne) else self.layer(x)


def test_amounts_are_those_of_the_definition() -> None:
    cases = 0
    for kernel, stride, dilation in STRIDED:
        for length in range(1, 30):
            total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
            assert same_amounts(length, kernel, stride, dilation) == (total // 2, total - total // 2)
            cases += 1
    assert cases == 18 * 29


@pytest.mark.parametrize("poison", [None, torch.nan, 1e30])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), STRIDED)
def test_convolution(kernel: int, stride: int, dilation: int, poison: float | None) -> None:
    model = Alone(SameConv2d(3, 4, kernel, stride, dilation=dilation))
    for sizes in (MIXED, EVEN, AWKWARD_SIZES[4]):
        check_exact(model, sizes, channels=3, poison=poison)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 2), "stride": (2, 1)},
        {"kernel_size": (1, 5), "stride": (3, 2), "dilation": (1, 2)},
        {"kernel_size": 4, "stride": 1},
        {"kernel_size": 3, "stride": 1, "dilation": 3},
        {"kernel_size": 3, "stride": 2, "groups": 3, "bias": False},
    ],
    ids=str,
)
def test_convolution_with_other_options(options: dict[str, Any]) -> None:
    model = Alone(SameConv2d(3, 6, **options))
    for sizes in (MIXED, AWKWARD_SIZES[0]):
        check_exact(model, sizes, channels=3, poison=torch.nan)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (2, 2), (2, 3), (3, 2), (3, 1), (2, 1), (5, 3), (7, 2)])
def test_max_pooling(kernel: int, stride: int, padding: str) -> None:
    layer = SameMaxPool2d(kernel, stride)
    # Below zero everywhere: padding with zeros would win.
    check_alone(lambda x: layer(x - 9.0), MIXED, padding=padding, channels_last=True)
    check_alone(lambda x: layer(x - 9.0), EVEN, padding=padding)
    assert layer(torch.zeros(1, 1, 7, 8)).shape == (1, 1, -(-7 // stride), -(-8 // stride))


@pytest.mark.parametrize("depthwise_first", [True, False])
def test_separable_convolution_and_a_stack(depthwise_first: bool) -> None:
    options = {"bias": True, "depthwise_first": depthwise_first, "keras_padding": True}
    stack = nn.Sequential(
        Alone(SeparableConv2d(3, 4, 3, stride=2, **options)),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        Alone(SameMaxPool2d(3, 2)),
        Alone(SameConv2d(4, 5, 3, 2)),
    )
    for poison in (None, torch.nan):
        check_exact(randomise(copy.deepcopy(stack)), MIXED, channels=3, poison=poison)


@pytest.mark.parametrize("sizes", [MIXED, EVEN])
@pytest.mark.parametrize("training", [False, True])
def test_what_fills_the_padding_of_a_pool_never_overflows(training: bool, sizes: Any) -> None:
    stack = nn.Sequential(Alone(SameMaxPool2d(3, 2)), nn.Conv2d(3, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
    check_exact(randomise(stack), sizes, channels=3, training=training, poison=torch.nan)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(*[st.integers(1, 20)] * 2), min_size=1, max_size=4), kernel=st.integers(1, 7),
    stride=st.integers(1, 4), dilation=st.integers(1, 3),
)  # fmt: skip
def test_any_size(sizes: Any, kernel: int, stride: int, dilation: int) -> None:
    conv = randomise(SameConv2d(3, 4, kernel, stride, dilation=dilation).double())
    pool = SameMaxPool2d(kernel, stride)
    check_alone(lambda x: pool(conv(x) - 9.0), sizes, padding="nan")


def test_compiled_over_plain_images() -> None:
    layer = nn.Sequential(SameConv2d(3, 4, 3, 2), SameMaxPool2d(3, 2)).double()
    traced = torch.compile(layer, fullgraph=True, dynamic=False, backend="aot_eager")
    for size in ((17, 12), (12, 17)):
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        assert torch.equal(traced(images), layer(images))


def test_compiled_over_ragged_batches() -> None:
    """Where the stride is 1 the amounts are one number; by each image's own size, no graph can pad."""
    check_compiled(nn.Sequential(SameConv2d(3, 4, 3), SameMaxPool2d(2, 1)).double())
    with pytest.raises(Exception, match=r"it works on each image by itself, which torch\.compile cannot trace"):
        check_compiled(SameMaxPool2d(3, 2))
