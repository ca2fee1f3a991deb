"""Encoders and decoders in ragged batches: values, gradients, running statistics are those of each image alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oracle
from anysize.models import create_model
from anysize.models.layers import SameConv2d
from oracle import OneByOne, check_exact, randomise

# Primes, both orders, narrow ones, sizes off by one; behind stride 32 some are a single pixel.
SIZES = ((37, 23), (9, 65), (40, 41), (17, 34))
TINY = ((1, 1), (1, 33), (20, 1))

# Options of the narrow networks; every kind of layer is in a quick one.
QUICK = {
    "resnet18": {"output_stride": 8},
    "resnet50": {"stride_in_1x1": True, "conv_bias": True, "norm_eps": 1.001e-5},
    "mobilenet_v2": {"dropout": 0.0, "keras_padding": True, "norm_eps": 1e-3},
    "xception41": {"output_stride": 8},
    "deeplabv3plus, xception41": {},
    "unet, resnet18": {},
}
SLOW = {
    "resnet18, strided": {},
    "resnet50, dilated": {"output_stride": 16, "dilate_strided": True},
    "mobilenet_v2, strided": {"dropout": 0.0},
    "mobilenet_v2, dilated": {"dropout": 0.0, "output_stride": 8},
    "xception41, strided": {},
    "deeplabv3plus, resnet50": {"output_stride": 8},
    "deeplabv3plus, mobilenet_v2": {"output_stride": 32},
    "unet, mobilenet_v2": {},
    "unet, xception41": {},
}
CASES = [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)]


class Images(OneByOne):
    """The oracle's list of images, for networks that ask for shapes and concatenate."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> OneByOne:
        if func is torch.cat:
            return cls([torch.cat(maps, **kwargs) for maps in zip(*(map_.images for map_ in args[0]), strict=True)])
        return super().__torch_function__(func, types, args, kwargs)

    @property
    def shape(self) -> "Shapes":
        return Shapes(self.images)


class Shapes:
    """One shape an image, of which a slice is one, too."""

    def __init__(self, images: list[Tensor]) -> None:
        self.images = images

    def __getitem__(self, key: slice) -> OneByOne:
        return Images([tuple(image.shape[key]) for image in self.images])


class Alone(nn.Module):
    """A layer that computes with the size of its input: the oracle's images it sees one by one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return Images([self.layer(image) for image in x.images]) if isinstance(x, Images) else self.layer(x)


@pytest.fixture(autouse=True)
def _images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "OneByOne", Images)


def network(case: str) -> nn.Module:
    name, _, encoder = case.partition(", ")
    options: dict[str, Any] = {**QUICK, **SLOW}[case]
    if name == "deeplabv3plus":
        options = {"encoder": encoder, "encoder_width": 0.125, "channels": 8, "dropout": 0.0, **options}
    elif name == "unet":
        options = {"encoder": encoder, "encoder_width": 0.125, "channels": (8, 8, 8, 4, 4), **options}
    else:
        options = {"width": 0.125, **options}
    model = randomise(create_model(name, num_classes=3, in_channels=2, **options))
    for layer_name, layer in list(model.named_modules()):
        if isinstance(layer, SameConv2d):
            model.set_submodule(layer_name, Alone(layer))
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_network(case: str, training: bool) -> None:
    # Batch normalisation over a dozen values, many times over, multiplies what rounding leaves.
    check_exact(network(case), SIZES, channels=2, training=training, poison=torch.nan, tolerance=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_smallest_images(case: str) -> None:
    check_exact(network(case), TINY, channels=2, training=False, poison=1e30, tolerance=1e-10)
