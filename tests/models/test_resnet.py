"""Residual networks against torchvision's, timm's and Keras's, with the same random weights."""

import re
from typing import Any

import pytest
import torch
from keras_truth import check_agreement, import_keras, randomise_keras, weights_of
from peer_truth import check_same_values, library
from torch import Tensor, nn

from anysize.models import create_model
from oracle import relative_error

SIZES = ((65, 78), (33, 50))
KERAS = {"stride_in_1x1": True, "conv_bias": True, "norm_eps": 1.001e-5}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_values_of_torchvision(name: str) -> None:
    theirs = library("torchvision").models.get_model(name, weights=None, num_classes=7)
    check_same_values(create_model(name, num_classes=7), theirs, SIZES)


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        ("resnet18", 16),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("resnet18", 8), ("resnet18", 32), ("resnet50", 8), ("resnet50", 16), ("resnet50", 32))
        ),
    ],
)
def test_values_of_timm(name: str, output_stride: int) -> None:
    theirs = library("timm").create_model(name, num_classes=7, in_chans=2, output_stride=output_stride)
    ours = create_model(name, num_classes=7, in_channels=2, output_stride=output_stride)
    check_same_values(ours, theirs, SIZES[:1], in_channels=2)


def count(name: str, statistics: bool = False, **options: Any) -> int:
    with torch.device("meta"):
        model = create_model(name, num_classes=1000, **options)
    tensors = list(model.parameters())
    if statistics:
        tensors += [buffer for key, buffer in model.named_buffers() if "running" in key]
    return sum(tensor.numel() for tensor in tensors)


def test_parameters() -> None:
    assert count("resnet18") == 11_689_512  # torchvision's documentation
    assert count("resnet50") == 25_557_032
    assert count("resnet50", statistics=True, conv_bias=True) == 25_636_712  # Keras's documentation


def state_of_keras(model: Any) -> dict[str, Tensor]:
    """Our names for the weights of ``keras.applications.ResNet50``."""
    kinds = {"conv": ("weight", "bias"), "bn": ("weight", "bias", "running_mean", "running_var")}
    state = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name in ("conv1_conv", "conv1_bn"):
            name = layer.name.replace("1_conv", "1").replace("conv1_bn", "bn1")
        else:
            stage, block, place, kind = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", layer.name).groups()
            inner = f"{kind}{place}" if place != "0" else f"downsample.{int(kind == 'bn')}"
            name = f"layer{int(stage) - 1}.{int(block) - 1}.{inner}"
        for key, value in zip(kinds[layer.name.rpartition("_")[2]], weights_of(layer), strict=True):
            state[f"{name}.{key}"] = value.permute(3, 2, 0, 1) if value.dim() == 4 else value
    return state


@pytest.mark.slow
def test_values_of_keras() -> None:
    theirs = import_keras().applications.ResNet50(include_top=False, pooling="avg", weights=None)
    randomise_keras(theirs)
    ours = create_model("resnet50", num_classes=7, **KERAS)
    ours.remove_heads()
    wanted = {key for key in ours.state_dict() if "num_batches" not in key}
    state = state_of_keras(theirs)
    assert set(state) == wanted
    ours.load_state_dict(state, strict=False)
    check_agreement(ours, theirs, SIZES)
    images = torch.randn(2, 3, *SIZES[0], generator=torch.Generator().manual_seed(0))
    assert relative_error(*ours(images).detach()) > 1e-2  # the answer is one to the image
    assert [module.eps for module in ours.modules() if isinstance(module, nn.BatchNorm2d)] == [1.001e-5] * 53
