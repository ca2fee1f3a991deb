"""Transposed convolution with every option, and the networks that go down and up again."""

from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from compiled import check_compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES, check_exact, random_images, randomise

TRANSPOSED: list[dict[str, Any]] = [
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "bias": False},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": 2, "stride": 3, "output_padding": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 5, "stride": 2, "padding": 3},
    {"kernel_size": 3, "dilation": 2, "padding": 1, "output_padding": 1},
    {"kernel_size": 3, "stride": 2, "dilation": 3, "groups": 2},
    {"kernel_size": (4, 1), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": (2, 3), "stride": (2, 3), "output_padding": (0, 1), "groups": 4},
]


def named(options: Any) -> str:
    return "-".join(f"{key}{value}".replace(" ", "") for key, value in options.items())


def transposed(axes: int = 2, **options: Any) -> Any:
    kind = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[axes]
    return randomise(kind(4, 8, **options).double())


@pytest.mark.parametrize("options", TRANSPOSED, ids=named)
def test_transposed_convolution(options: dict[str, Any]) -> None:
    model = nn.Sequential(transposed(**options), nn.Conv2d(8, 3, 3, padding=1))
    for sizes in (AWKWARD_SIZES[0], AWKWARD_SIZES[1], AWKWARD_SIZES[3]):
        check_exact(model, sizes, channels=4, poison=torch.nan)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("options", TRANSPOSED, ids=named)
def test_transposed_convolution_whatever_lies_around(options: dict[str, Any], padding: str) -> None:
    model = transposed(**options)
    check_alone(model, AWKWARD_SIZES[3], channels=4, padding=padding)
    check_alone(model, AWKWARD_SIZES[2], channels=4, padding=padding, channels_last=True)


@pytest.mark.parametrize("options", TRANSPOSED, ids=named)
def test_transposed_convolution_sends_no_gradient_into_the_padding(options: dict[str, Any]) -> None:
    check_padding_gradient(transposed(**options), ((9, 14), (13, 7), (8, 8)), channels=4)


@pytest.mark.parametrize("axes", [1, 3])
def test_transposed_convolution_over_one_and_three_axes(axes: int) -> None:
    for options in (TRANSPOSED[0], TRANSPOSED[2], TRANSPOSED[10]):
        for poison in (None, torch.nan):
            model = transposed(axes, **options)
            check_exact(model, LENGTHS if axes == 1 else VOLUMES, channels=4, poison=poison)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_transposed_convolution_of_any_size(data: st.DataObject) -> None:
    kernel, stride, dilation = (data.draw(st.integers(1, top)) for top in (4, 3, 2))
    padding = data.draw(st.integers(0, dilation * (kernel - 1) // 2))
    output_padding = data.draw(st.integers(0, max(stride, dilation) - 1))
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    sizes = data.draw(drawn_sizes(1, 9))
    check_exact(transposed(kernel_size=kernel, **options), sizes, channels=4, poison=torch.nan)


def test_transposed_convolution_as_a_function() -> None:
    weight, bias = torch.randn(3, 2, 3, 3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    for function in (
        lambda x: F.conv_transpose2d(x, weight),
        lambda x: torch.conv_transpose2d(x, weight, bias, [2, 2], [1, 1], [1, 0], 1, [1, 1]),
        lambda x: F.conv_transpose2d(input=x, weight=weight, bias=bias, stride=(3,), dilation=2),
    ):
        check_alone(function, AWKWARD_SIZES[3], padding="nan")


class Back(nn.Module):
    """Halve an image, and bring it back to the size that it had."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, **options)
        self.behind = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        return self.behind(self.up(self.down(x), output_size=x.shape[-2:]))


def test_images_are_brought_back_to_their_own_size() -> None:
    model = randomise(Back()).double()
    for sizes in (((9, 15), (13, 7), (1, 1)), ((8, 14), (20, 2)), ((8, 13), (12, 1))):  # odd, even, and one of each
        check_alone(model, sizes, padding="nan")
        assert model(RaggedBatch.from_images(random_images(sizes, 3))).sizes == sizes


def test_a_group_is_brought_back_to_its_own_sizes() -> None:
    images = random_images(((9, 15), (13, 7), (7, 7), (5, 5)), 3)
    group = RaggedGroup([RaggedBatch.from_images(images[:2]), RaggedBatch.from_images(images[2:])])
    model = randomise(Back()).double()
    for value, image in zip(model(group).unbind(), images, strict=True):
        assert torch.allclose(value, model(image[None])[0], rtol=1e-12, atol=1e-12)


class UNet(nn.Module):
    """Two levels down by convolutions with a stride, up by transposed ones, with skips added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(True))
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.bottom = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.last_up = nn.ConvTranspose2d(8, 4, 3, stride=2)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        first = self.first(x)
        second = self.down(first)
        maps = F.interpolate(self.up(self.bottom(second)), size=second.shape[2:]) + second
        maps = F.interpolate(self.last_up(maps), size=first.shape[2:], mode="bilinear", align_corners=False)
        return self.head(self.norm(maps) + first)


@pytest.mark.parametrize("poison", [None, torch.nan])
def test_a_unet(poison: float | None) -> None:
    model = randomise(UNet()).double().eval()
    for sizes in AWKWARD_SIZES:
        check_alone(model, sizes, padding="zero" if poison is None else "nan", tolerance=1e-11)


def test_a_unet_in_training() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, bias=False), nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 3, padding=1),
    )  # fmt: skip
    for sizes in AWKWARD_SIZES:
        check_exact(randomise(model), sizes, channels=3, training=True, poison=torch.nan)


@pytest.mark.parametrize("options", [TRANSPOSED[0], TRANSPOSED[2]], ids=named)
def test_compiled_transposed_convolution(options: dict[str, Any]) -> None:
    check_compiled(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1).double(), transposed(**options)))
