"""Pools whose windows hang over the border, powers, and adaptive pools."""

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
ODD = ((1, 1), (1, 9), (7, 2), (3, 3))


def named(options: Any) -> str:
    return "-".join(f"{key}{value}".replace(" ", "") for key, value in options.items())


def conv(channels: int = 3) -> nn.Module:
    """What comes behind a rule, to see whether what it says of the padding is true."""
    return randomise(nn.Conv2d(channels, 4, 3, padding=1).double(), seed=5)


HANGING: list[dict[str, Any]] = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 2, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 2, "ceil_mode": True, "count_include_pad": False},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True, "divisor_override": 5},
    {"kernel_size": 3, "padding": 1, "divisor_override": 2},
    {"kernel_size": (3, 4), "stride": (1, 3), "padding": (1, 0), "ceil_mode": True},
    {"kernel_size": (5, 2), "padding": (2, 1), "count_include_pad": False},
]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("options", HANGING, ids=named)
def test_average_pools_that_hang_over_the_border(options: dict[str, Any], padding: str) -> None:
    pool, behind = nn.AvgPool2d(**options), conv()
    check_alone(pool, AWKWARD_SIZES[0], padding=padding)
    check_alone(lambda x: behind(pool(x)), AWKWARD_SIZES[3], padding=padding, channels_last=True)


@pytest.mark.parametrize("options", HANGING, ids=named)
def test_average_pools_that_hang_over_send_no_gradient_into_the_padding(options: dict[str, Any]) -> None:
    check_padding_gradient(nn.AvgPool2d(**options), SMALL)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_average_pool_of_any_size(data: st.DataObject) -> None:
    kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    padding = data.draw(st.integers(0, kernel // 2))
    ceil_mode, counted = data.draw(st.booleans()), data.draw(st.booleans())
    sizes = data.draw(drawn_sizes(kernel, 14))
    check_alone(nn.AvgPool2d(kernel, stride, padding, ceil_mode, counted), sizes, padding="nan")


@pytest.mark.parametrize("counted", [True, False])
def test_average_pools_over_one_and_three_axes(counted: bool) -> None:
    for padding in ("nan", "finite"):
        for options in ((3, 2, 1, False, counted), (3, 2, 1, True, counted), (2, 2, 0, True, counted)):
            check_alone(nn.AvgPool1d(*options), LENGTHS, padding=padding)
            check_alone(nn.AvgPool3d(*options), VOLUMES, padding=padding)


def test_average_pool_in_half_precision() -> None:
    """Sums in a window would overflow, and the counts must not be rounded."""
    pool = nn.AvgPool2d(7, 3, 3, ceil_mode=True, count_include_pad=False)
    check_alone(lambda x: pool(x * 10), SMALL, dtype=torch.bfloat16, tolerance=2e-2)
    batch = RaggedBatch.from_images([torch.full((1, *size), 3e4, dtype=torch.float16) for size in SMALL])
    for image in pool(batch).unbind():
        assert torch.allclose(image, image.new_tensor(3e4), rtol=2e-3)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("norm", [1, 2, 3.0, 0.5])
def test_power_pools(norm: float, padding: str) -> None:
    behind = conv()
    for ceil_mode in (False, True):
        pool = nn.LPPool2d(norm, 3, stride=2, ceil_mode=ceil_mode)
        check_alone(lambda x, pool=pool: behind(pool(x.abs() + 0.1)), AWKWARD_SIZES[0], padding=padding)
    check_alone(lambda x: nn.LPPool1d(norm, 2)(x.abs() + 0.1), LENGTHS, padding=padding)
    check_alone(lambda x: nn.LPPool3d(norm, 2, ceil_mode=True)(x.abs() + 0.1), VOLUMES, padding=padding)


@pytest.mark.parametrize("norm", [0.5, 2, 3.0])
def test_power_pools_of_images_amid_zeros(norm: float) -> None:
    """Where a root of zero is taken, its derivative is infinite."""
    conv = randomise(nn.Conv2d(3, 4, 1, bias=False).double())

    class Powers(nn.Module):
        def __init__(self, ceil_mode: bool) -> None:
            super().__init__()
            self.conv, self.ceil_mode = conv, ceil_mode

        def forward(self, x: Any) -> Any:
            maps = self.conv(x)
            return F.lp_pool2d(maps * maps, norm, 3, stride=2, ceil_mode=self.ceil_mode)

    for ceil_mode in (False, True):
        check_exact(Powers(ceil_mode), AWKWARD_SIZES[3], channels=3)


def test_power_pools_send_no_gradient_into_the_padding() -> None:
    check_padding_gradient(nn.LPPool2d(2, 3, stride=2), SMALL)
    check_padding_gradient(nn.LPPool2d(3, 2, ceil_mode=True), SMALL)


def test_every_spelling_of_pooling() -> None:
    for function in (
        lambda x: torch.max_pool2d(x, 2),
        lambda x: torch.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], True),
        lambda x: F.max_pool2d(x, kernel_size=3, stride=[], padding=1),
        lambda x: F.avg_pool2d(input=x, kernel_size=[3, 2], stride=[], padding=[1, 1]),
        lambda x: torch._C._nn.avg_pool2d(x, 3, 2, 1, True, False, 4),
        lambda x: F.lp_pool2d(x.abs() + 1, 2.0, [2, 3], stride=[1, 2]),
        lambda x: F.adaptive_avg_pool2d(x, output_size=(2, None)),
    ):
        check_alone(function, AWKWARD_SIZES[0], padding="nan")
    check_alone(lambda x: torch.max_pool1d(x, 3, 2, 1), LENGTHS, padding="nan")
    check_alone(lambda x: torch.avg_pool1d(x, (3,), (2,), (1,), True, False), LENGTHS, padding="nan")
    check_alone(lambda x: torch.adaptive_avg_pool1d(x, 4), LENGTHS, padding="nan")
    check_alone(lambda x: torch.max_pool3d(x, 2), VOLUMES, padding="nan")


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [1, 2, 7, (1, 3), (None, 2), (5, None), (None, None), (30, 30)], ids=str)
@pytest.mark.parametrize("kind", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
def test_adaptive_pools(kind: Any, size: Any, padding: str) -> None:
    pool, behind = kind(size), conv()
    check_alone(pool, AWKWARD_SIZES[0], padding=padding)
    check_alone(lambda x: behind(pool(x - 9.0)), ODD, padding=padding, channels_last=True)


@pytest.mark.parametrize("size", [2, (3, None), 1])
def test_adaptive_pools_send_no_gradient_into_the_padding(size: Any) -> None:
    check_padding_gradient(nn.AdaptiveAvgPool2d(size), SMALL)
    check_padding_gradient(nn.AdaptiveMaxPool2d(size), SMALL)


def test_adaptive_pools_over_one_and_three_axes() -> None:
    for size in (1, 3):
        for pool in (nn.AdaptiveAvgPool1d(size), nn.AdaptiveMaxPool1d(size)):
            check_alone(pool, LENGTHS, padding="nan")
        for pool in (nn.AdaptiveAvgPool3d(size), nn.AdaptiveMaxPool3d((size, None, 2))):
            check_alone(pool, VOLUMES, padding="nan")


@settings(max_examples=25, deadline=None)
@given(sizes=drawn_sizes(1, 12), target=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_adaptive_pools_of_any_size(sizes: Any, target: tuple[int, int]) -> None:
    for kind in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        check_alone(lambda x, kind=kind: kind(x, target), sizes, padding="nan")


def test_an_adaptive_pool_gives_images_of_one_size() -> None:
    pooled = F.adaptive_avg_pool2d(RaggedBatch.from_images(random_images(SMALL, 3)), (3, 2))
    assert isinstance(pooled, RaggedBatch)
    assert pooled.sizes == ((3, 2),) * 4
    assert pooled.canvas.shape == (4, 3, 3, 2)
    assert pooled.is_uniform
    assert pooled.padding is not Padding.UNKNOWN


def test_each_image_may_be_pooled_to_the_size_of_another() -> None:
    check_alone(
        lambda x: F.adaptive_avg_pool2d(x, [length // 2 + 1 for length in x.shape[2:]]), AWKWARD_SIZES[3], padding="nan"
    )


def test_pools_of_groups() -> None:
    images = random_images(SMALL, 3)
    group = RaggedGroup([RaggedBatch.from_images(images[:2]), RaggedBatch.from_images(images[2:])])
    for pool in (nn.AdaptiveAvgPool2d(3), nn.AdaptiveMaxPool2d(2), nn.AvgPool2d(3, 2, 1, True, False)):
        for value, image in zip(pool(group).unbind(), images, strict=True):
            assert torch.allclose(value, pool(image[None])[0], rtol=1e-12, atol=1e-12)


class DenseTransition(nn.Module):
    """A norm, a 1x1 convolution and an average pool of every kind, as networks have them between stages."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.pools = nn.Sequential(
            nn.AvgPool2d(3, 2, 1), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(),
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        return self.pools(self.norm(x))


@pytest.mark.parametrize("training", [True, False])
def test_pools_between_stages(training: bool) -> None:
    for sizes in AWKWARD_SIZES:
        check_exact(randomise(DenseTransition()), sizes, channels=3, training=training, poison=torch.nan)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.AdaptiveMaxPool2d(1),
    ],
    ids=str,
)
def test_compiled_pools(pool: nn.Module) -> None:
    check_compiled(pool)
