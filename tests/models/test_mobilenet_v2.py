"""MobileNetV2 against torchvision's and Keras's, with the same random weights."""

from typing import Any

import pytest
import torch
from keras_truth import check_agreement, import_keras, randomise_keras, weights_of
from peer_truth import check_same_values, library
from torch import Tensor, nn

from anysize.models import create_model

KERAS = {"keras_padding": True, "norm_eps": 1e-3, "norm_momentum": 1e-3, "dropout": 0.0}


@pytest.mark.parametrize("width", [1.0, 0.35])
def test_values_of_torchvision(width: float) -> None:
    theirs = library("torchvision").models.mobilenet_v2(weights=None, num_classes=7, width_mult=width)
    check_same_values(create_model("mobilenet_v2", num_classes=7, width=width), theirs, ((65, 78), (33, 50)))


@pytest.mark.parametrize("width", [0.2, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 2.0])
def test_widths_of_torchvision(width: float) -> None:
    with torch.device("meta"):
        theirs = library("torchvision").models.mobilenet_v2(weights=None, width_mult=width)
        ours = create_model("mobilenet_v2", num_classes=1000, width=width)
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}
    assert width != 1.0 or sum(p.numel() for p in ours.parameters()) == 3_504_872  # torchvision's documentation


@pytest.mark.parametrize("output_stride", [pytest.param(8, marks=pytest.mark.slow), 16])
def test_the_dilation_of_timm(output_stride: int) -> None:
    # Its names count stages; the order of the layers is ours.
    theirs = library("timm").create_model("mobilenetv2_100", num_classes=7, output_stride=output_stride)
    ours = create_model("mobilenet_v2", num_classes=7, output_stride=output_stride)
    names = dict(zip(theirs.state_dict(), ours.state_dict(), strict=True))
    check_same_values(ours, theirs, ((65, 78),), renamed=names.__getitem__)


def state_of_keras(model: Any, names: list[str]) -> dict[str, Tensor]:
    """Our names for the weights of ``keras.applications.MobileNetV2``, whose layers come in the same order."""
    values = []
    for layer in model.layers:
        for value in weights_of(layer):
            depthwise = layer.name.endswith("depthwise")
            values.append(value.permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)) if value.dim() == 4 else value)
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(("size", "width"), [((65, 78), 0.35), pytest.param((50, 97), 1.4, marks=pytest.mark.slow)])
def test_values_of_keras(size: tuple[int, int], width: float) -> None:
    # With unknown sizes Keras itself would pad all as if they were even.
    theirs = import_keras().applications.MobileNetV2(
        input_shape=(*size, 3), alpha=width, include_top=False, pooling="avg", weights=None
    )
    randomise_keras(theirs, gain=2.3)
    ours = create_model("mobilenet_v2", num_classes=7, width=width, **KERAS)
    ours.remove_heads()
    names = [key for key in ours.state_dict() if "num_batches" not in key]
    ours.load_state_dict(state_of_keras(theirs, names), strict=False)
    check_agreement(ours, theirs, [size])
    norms = [module for module in ours.modules() if isinstance(module, nn.BatchNorm2d)]
    keras_norms = [layer for layer in theirs.layers if type(layer).__name__ == "BatchNormalization"]
    assert [(m.eps, m.momentum) for m in norms] == [(k.epsilon, pytest.approx(1 - k.momentum)) for k in keras_norms]
