"""Convolution and pooling, each with every option that changes where its windows lie."""

import itertools
from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anysize.ragged import RaggedBatch
from oracle import AWKWARD_SIZES, check_exact, randomise

# torch warns that an even kernel with padding="same" copies its input. That is the case under test.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 1, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "bias": False},
    {"kernel_size": 3, "padding": 4},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 5, "stride": 3, "padding": 2},
    {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": 3, "dilation": 2, "padding": 2},
    {"kernel_size": 3, "dilation": (1, 3), "padding": (0, 2), "stride": (2, 1)},
    {"kernel_size": (3, 1), "padding": (1, 0)},
    {"kernel_size": (1, 5), "padding": (0, 2)},
    {"kernel_size": 3, "padding": "valid"},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 2, "padding": "same"},
    {"kernel_size": 4, "padding": "same"},
    {"kernel_size": (2, 5), "padding": "same", "dilation": (3, 1)},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4, "stride": 2, "dilation": 2},
]


def named(options: Any) -> str:
    return "-".join(f"{key}{value}".replace(" ", "") for key, value in options.items()) or "plain"


def convolution(axes: int = 2, **options: Any) -> nn.Module:
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
    return randomise(kind(4, 8, **options).double())


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=named)
def test_convolution(options: dict[str, Any]) -> None:
    for sizes in AWKWARD_SIZES:
        check_exact(convolution(**options), sizes, channels=4)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=named)
def test_convolution_whatever_lies_around(options: dict[str, Any], padding: str) -> None:
    model = convolution(**options)
    check_alone(model, AWKWARD_SIZES[0], channels=4, padding=padding)
    check_alone(model, AWKWARD_SIZES[0], channels=4, padding=padding, channels_last=True)


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=named)
def test_convolution_sends_no_gradient_into_the_padding(options: dict[str, Any]) -> None:
    check_padding_gradient(convolution(**options), ((9, 14), (13, 7), (8, 8)), channels=4)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 2, "padding": "same"},
        {"kernel_size": 3, "dilation": 2, "padding": 2, "groups": 2},
        {"kernel_size": 1, "stride": 2, "padding": 1},
    ],
    ids=named,
)
def test_convolution_over_one_and_three_axes(axes: int, options: dict[str, Any]) -> None:
    sizes = LENGTHS if axes == 1 else VOLUMES
    for poison in (None, torch.nan):
        check_exact(convolution(axes, **options), sizes, channels=4, poison=poison)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_convolution_of_any_size(data: st.DataObject) -> None:
    kernel, stride, dilation = (data.draw(st.integers(1, top)) for top in (4, 3, 2))
    extent = dilation * (kernel - 1) + 1
    padding = data.draw(st.integers(0, 3))
    sizes = data.draw(drawn_sizes(max(1, extent - 2 * padding)))
    model = convolution(kernel_size=kernel, stride=stride, dilation=dilation, padding=padding)
    check_exact(model, sizes, channels=4, poison=torch.nan)


@settings(max_examples=25, deadline=None)
@given(kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)), sizes=drawn_sizes(1, 9))
def test_same_convolution_of_any_size(kernel: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    check_exact(convolution(kernel_size=kernel, padding="same"), sizes, channels=4, poison=torch.inf)


def test_convolution_as_a_function_in_every_form() -> None:
    weight = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    bias = torch.randn(2, dtype=torch.float64)
    for function in (
        lambda x: F.conv2d(x, weight),
        lambda x: F.conv2d(x, weight, bias, 2, 1),
        lambda x: F.conv2d(input=x, weight=weight, bias=bias, padding=[1, 2], stride=(2,)),
        lambda x: torch.conv2d(x, weight, bias, padding="same"),
    ):
        check_alone(function, AWKWARD_SIZES[3], padding="nan")


MAX_POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": 3, "dilation": 2, "padding": 1, "stride": 2, "ceil_mode": True},
    {"kernel_size": 5, "stride": 1, "padding": 2},
]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("options", MAX_POOLS, ids=named)
def test_max_pool(options: dict[str, Any], padding: str) -> None:
    for sizes in AWKWARD_SIZES:
        check_alone(nn.MaxPool2d(**options), sizes, padding=padding)
    # Below zero everywhere: a zero from the padding would win.
    check_alone(lambda x: F.max_pool2d(x - 9.0, **options), AWKWARD_SIZES[0], padding=padding, channels_last=True)


@pytest.mark.parametrize("options", MAX_POOLS, ids=named)
def test_max_pool_sends_no_gradient_into_the_padding(options: dict[str, Any]) -> None:
    check_padding_gradient(nn.MaxPool2d(**options), ((9, 14), (13, 7), (8, 8)))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_max_pool_of_any_size(data: st.DataObject) -> None:
    kernel, stride, dilation = (data.draw(st.integers(1, top)) for top in (4, 4, 2))
    padding = data.draw(st.integers(0, kernel // 2))
    sizes = data.draw(drawn_sizes(dilation * (kernel - 1) + 1))
    ceil_mode = data.draw(st.booleans())
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    check_alone(lambda x: pool(x - 9.0), sizes, padding="nan")


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}]
)
def test_max_pool_over_one_and_three_axes(options: dict[str, Any]) -> None:
    check_alone(nn.MaxPool1d(**options), LENGTHS, padding="nan")
    check_alone(nn.MaxPool3d(**options), VOLUMES, padding="nan")


@pytest.mark.parametrize("training", [True, False])
def test_what_a_padded_max_pool_leaves_around_the_images_does_no_harm(training: bool) -> None:
    """Windows without a real pixel must not hold a number that the next layers turn into infinity."""
    model = nn.Sequential(
        nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    )
    check_exact(randomise(model), ((11, 64), (64, 11), (37, 37)), channels=3, training=training)
    check_alone(lambda x: (F.max_pool2d(x, 3, 2, 1) * 1e3 + 1.0) * F.max_pool2d(x, 3, 2, 1), ((5, 40), (40, 5)))


AVERAGE_POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": (3, 2), "stride": (1, 3)},
    {"kernel_size": 2, "divisor_override": 3},
    {"kernel_size": 2, "count_include_pad": False},
]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("options", AVERAGE_POOLS, ids=named)
def test_average_pool(options: dict[str, Any], padding: str) -> None:
    for sizes in AWKWARD_SIZES:
        check_alone(nn.AvgPool2d(**options), sizes, padding=padding, channels_last=sizes is AWKWARD_SIZES[0])
    check_padding_gradient(nn.AvgPool2d(**options), ((9, 14), (13, 7), (8, 8)))


@settings(max_examples=20, deadline=None)
@given(kernel=st.integers(1, 4), stride=st.integers(1, 4), data=st.data())
def test_average_pool_of_any_size(kernel: int, stride: int, data: st.DataObject) -> None:
    check_alone(nn.AvgPool2d(kernel, stride), data.draw(drawn_sizes(kernel)), padding="nan")


def test_average_pool_over_one_and_three_axes() -> None:
    check_alone(nn.AvgPool1d(2), LENGTHS, padding="nan")
    check_alone(nn.AvgPool1d(3, 1), LENGTHS, padding="finite")
    check_alone(nn.AvgPool3d(2), VOLUMES, padding="nan")


GLOBAL_POOLS = {
    "adaptive_avg_module": nn.AdaptiveAvgPool2d(1),
    "adaptive_avg_pair": lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
    "adaptive_max_module": nn.AdaptiveMaxPool2d(1),
    "adaptive_max_pair": lambda x: F.adaptive_max_pool2d(x, [1, 1]),
    **{
        f"{name}_{form}": function
        for name, torch_function in (("mean", torch.mean), ("sum", torch.sum), ("amax", torch.amax))
        for form, function in {
            "function": lambda x, f=torch_function: f(x, (2, 3)),
            "function_named": lambda x, f=torch_function: f(x, dim=[2, 3], keepdim=True),
            "method": lambda x, n=name: getattr(x, n)((2, 3)),
            "method_kept": lambda x, n=name: getattr(x, n)((-1, -2), True),
            "method_negative": lambda x, n=name: getattr(x, n)(dim=(-2, -1)),
            "method_mixed": lambda x, n=name: getattr(x, n)(dim=(2, -1), keepdim=True),
        }.items()
    },
}


@pytest.mark.parametrize("name", GLOBAL_POOLS)
def test_global_pool(name: str) -> None:
    pool = GLOBAL_POOLS[name]
    for sizes, padding in itertools.product((*AWKWARD_SIZES, ((1, 1), (1, 7), (5, 1))), PADDINGS):
        check_alone(pool, sizes, padding=padding)
    check_alone(lambda x: pool(x - 9.0), AWKWARD_SIZES[0], padding="zero", channels_last=True)
    check_padding_gradient(pool, ((9, 14), (13, 7), (1, 1)))


@pytest.mark.parametrize("axes", [1, 3])
def test_global_pool_over_one_and_three_axes(axes: int) -> None:
    sizes, spatial = (LENGTHS, (2,)) if axes == 1 else (VOLUMES, (2, 3, 4))
    pools = [
        getattr(nn, f"AdaptiveAvgPool{axes}d")(1),
        getattr(nn, f"AdaptiveMaxPool{axes}d")(1),
        lambda x: x.mean(spatial),
        lambda x: torch.sum(x, spatial, keepdim=True),
        lambda x: x.amax(dim=spatial),
    ]
    if axes == 1:
        pools += [lambda x: x.mean(-1), lambda x: x.sum(2), lambda x: x.amax(-1, keepdim=True)]
    for pool in pools:
        check_alone(pool, sizes, padding="nan")


@settings(max_examples=20, deadline=None)
@given(sizes=drawn_sizes(1))
def test_global_pools_of_any_size(sizes: list[tuple[int, int]]) -> None:
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), lambda x: x.amax((2, 3))):
        check_alone(pool, sizes, padding="inf")


@pytest.mark.parametrize(
    "pool",
    [
        nn.AdaptiveMaxPool2d(1),
        lambda x: x.amax((2, 3)),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2, ceil_mode=True),
    ],
)
def test_equal_maxima_share_the_gradient_as_they_do_alone(pool: Any) -> None:
    """An adaptive pool sends it to the first of them, amax divides it."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(-3, 0, (2, *size), generator=generator).double() for size in ((6, 9), (9, 4))]
    mine, true = ([image.clone().requires_grad_() for image in images] for _ in range(2))
    result = pool(RaggedBatch.from_images(mine))
    maps = result.unbind() if isinstance(result, RaggedBatch) else list(result)
    for index, (image, leaf) in enumerate(zip(maps, true, strict=True)):
        alone = pool(leaf[None])[0]
        weights = torch.randn(alone.shape, generator=generator, dtype=torch.float64)
        (image * weights).sum().backward(retain_graph=True)
        (alone * weights).sum().backward()
        torch.testing.assert_close(mine[index].grad, leaf.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_mean_of_a_large_image_holds_in_half_precision(dtype: torch.dtype) -> None:
    """The sum overflows float16, and its area does as well; bfloat16 rounds the area by up to 0.4 %."""
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-5}[dtype]
    for pool in (nn.AdaptiveAvgPool2d(1), lambda x: x.mean((2, 3))):
        check_alone(
            lambda x, pool=pool: pool(x + 100.0),
            ((300, 301), (7, 5)),
            channels=1,
            dtype=dtype,
            tolerance=tolerance,
        )


@pytest.mark.parametrize("options", CONVOLUTIONS[3:9], ids=named)
def test_single_precision(options: dict[str, Any]) -> None:
    model = convolution(**options)
    truth, single = model, convolution(**options).float()

    def function(x: Any) -> Any:
        return (truth if x.dtype == torch.float64 else single)(x)

    check_alone(function, AWKWARD_SIZES[0], channels=4, dtype=torch.float32, padding="huge", tolerance=1e-5)
    check_alone(
        function,
        AWKWARD_SIZES[3],
        channels=4,
        dtype=torch.float32,
        padding="nan",
        channels_last=True,
        tolerance=1e-5,
    )
