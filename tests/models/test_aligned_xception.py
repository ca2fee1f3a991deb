"""The aligned Xceptions against timm's, with the same random weights: logits and feature maps."""

import itertools
from typing import Any

import pytest
import torch
from peer_truth import check_same_values, library
from torch import nn

from anysize.models import create_model
from oracle import random_images, relative_error

CASES = list(itertools.product(("xception41", "xception65", "xception71"), (8, 16, 32)))
QUICK = ("xception41", 16)


def timm_network(name: str, output_stride: int) -> Any:
    timm = library("timm")
    theirs = timm.create_model(name, num_classes=7, output_stride=output_stride)
    if (name, output_stride) == ("xception71", 8):
        # There timm leaves out a projection because its stride became 1, and does not fit its own weights any more.
        assert theirs.blocks[4].shortcut is None
        theirs.blocks[4].shortcut = timm.create_model(name).blocks[4].shortcut
        theirs.blocks[4].shortcut.conv.stride = (1, 1)
    return theirs


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case != QUICK)],
)
def test_values_of_timm(name: str, output_stride: int) -> None:
    theirs = timm_network(name, output_stride)
    ours = create_model(name, num_classes=7, output_stride=output_stride)
    check_same_values(ours, theirs, ((49, 66),))
    (image,) = random_images(((66, 49),), 3)
    with torch.no_grad():
        maps = ours.eval().pyramid(image[None])
        expected = theirs.eval().forward_intermediates(image[None], intermediates_only=True)
    assert len(maps) == len(expected) == 5
    for mine, truth in zip(maps, expected, strict=True):
        assert relative_error(mine, truth) <= 1e-10
    settings = [(m.eps, m.momentum) for m in ours.modules() if isinstance(m, nn.BatchNorm2d)]
    assert settings == [(m.eps, m.momentum) for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize(("name", "output_stride"), CASES)
def test_layers_of_timm(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        theirs = timm_network(name, output_stride)
        ours = create_model(name, num_classes=7, output_stride=output_stride)
    layers = [
        {
            layer_name: (layer.weight.shape, layer.stride, layer.dilation, layer.padding)
            for layer_name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d)
        }
        for model in (ours, theirs)
    ]
    assert layers[0] == layers[1]
    assert set(ours.state_dict()) == set(theirs.state_dict())


@pytest.mark.parametrize(
    ("name", "number"), [("xception41", 26_969_560), ("xception65", 39_916_312), ("xception71", 42_338_736)]
)
def test_parameters(name: str, number: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == number
