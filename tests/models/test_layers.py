"""The shared layers against those of Keras, with the same weights."""

from typing import Any

import pytest
import torch
from keras_truth import check_agreement, import_keras, randomise_keras, weights_of
from torch import nn

from anysize.models.layers import SameConv2d, SameMaxPool2d, SeparableConv2d
from oracle import random_images, randomise

SIZES = ((1, 1), (2, 1), (5, 6), (6, 5), (7, 7), (12, 8), (13, 2))


STRIDED = ((3, 2, 1), (2, 2, 1), (5, 3, 1), (7, 2, 1), (3, 1, 2), (1, 2, 1))


def kernel(values: torch.Tensor) -> torch.Tensor:
    """(h, w, C, C') -> (C', C, h, w)."""
    return values.permute(3, 2, 0, 1)


@pytest.mark.parametrize(("size", "stride", "dilation"), STRIDED)
def test_convolution_is_that_of_keras(size: int, stride: int, dilation: int) -> None:
    keras = import_keras()
    layer = keras.layers.Conv2D(4, size, stride, padding="same", dilation_rate=dilation)
    layer.build((None, None, None, 3))
    randomise_keras(layer)
    mine = SameConv2d(3, 4, size, stride, dilation=dilation)
    values, bias = weights_of(layer)
    mine.load_state_dict({"weight": kernel(values), "bias": bias})
    check_agreement(mine, layer, SIZES)


class _Below(nn.Module):
    """All below zero, so that padding with zeros would win."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images - 9


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 2), (2, 3), (5, 2), (3, 1)])
def test_max_pooling_is_that_of_keras(size: int, stride: int) -> None:
    layer = import_keras().layers.MaxPooling2D(size, stride, padding="same")
    check_agreement(nn.Sequential(_Below(), SameMaxPool2d(size, stride)), lambda x, **_: layer(x - 9), SIZES)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_separable_convolution_is_that_of_keras(bias: bool, stride: int) -> None:
    layer = import_keras().layers.SeparableConv2D(5, 3, stride, padding="same", use_bias=bias)
    layer.build((None, None, None, 3))
    randomise_keras(layer)
    mine = SeparableConv2d(3, 5, stride=stride, bias=bias, keras_padding=True)
    depthwise, pointwise, *rest = weights_of(layer)
    state = {"depthwise.weight": kernel(depthwise.transpose(2, 3)), "pointwise.weight": kernel(pointwise)}
    mine.load_state_dict(state | ({"pointwise.bias": rest[0]} if bias else {}))
    check_agreement(mine, layer, SIZES)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}, {"stride": 2, "keras_padding": True}], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_the_order_of_the_factors(bias: bool, options: dict[str, Any]) -> None:
    """Both orders are one plain convolution, whose kernel is the product of the factors."""
    (image,) = random_images(((12, 9),), 3)
    for depthwise_first in (True, False):
        layer = randomise(SeparableConv2d(3, 5, bias=bias, depthwise_first=depthwise_first, **options).double())
        assert next(name for name, _ in layer.named_children()) == ("depthwise" if depthwise_first else "pointwise")
        channels = 3 if depthwise_first else 5
        assert layer.depthwise.weight.shape == (channels, 1, 3, 3)
        spatial, mixing = layer.depthwise.weight[:, 0], layer.pointwise.weight[:, :, 0, 0]
        product = mixing[:, :, None, None] * (spatial[None] if depthwise_first else spatial[:, None])
        dilation, stride = options.get("dilation", 1), options.get("stride", 1)
        plain = SameConv2d if "keras_padding" in options else nn.Conv2d
        more: dict[str, Any] = {} if plain is SameConv2d else {"padding": dilation}
        conv = plain(3, 5, 3, stride, dilation=dilation, bias=bias, **more).double()
        last = layer.pointwise if depthwise_first else layer.depthwise
        conv.load_state_dict({"weight": product} | ({"bias": last.bias} if bias else {}))
        torch.testing.assert_close(layer(image[None]), conv(image[None]), rtol=1e-12, atol=1e-12)


def test_symmetrical_padding_is_told_from_that_of_keras() -> None:
    """At odd sizes they are one, at even sizes not: else the comparisons above would show nothing."""
    (image,) = random_images(((8, 8),), 3)
    mine = randomise(SameConv2d(3, 4, 3, 2).double())
    other = nn.Conv2d(3, 4, 3, 2, padding=1).double()
    other.load_state_dict(mine.state_dict())
    assert torch.allclose(mine(image[None, :, 1:, 1:]), other(image[None, :, 1:, 1:]))
    assert not torch.allclose(mine(image[None]), other(image[None]))
