"""Options of a network under which another library's weights do not give that library's values: no name says so."""

import inspect

from torch import nn

from anysize.models.encoder import Encoder
from anysize.models.layers.same import SameConv2d, SameMaxPool2d
from anysize.models.zoo.mobilenet_v2 import MobilenetV2
from anysize.models.zoo.resnet import Resnet

__all__ = ["other_eps", "other_padding", "strides_left_undilated", "strides_that_are_dilated"]

_STAGES: dict[type[Encoder], tuple[tuple[str, str], ...]] = {
    Resnet: (("layer3.0", "layer3.1"), ("layer4.0", "layer4.1")),
    MobilenetV2: (("features.7", "features.8"), ("features.14", "features.15")),
}
"""First and second block of the stages whose stride may be dropped."""


def other_eps(model: nn.Module, library: str, eps: float) -> list[str]:
    """Say where batch normalisation adds something else to the variance than the library does."""
    found = {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)} - {eps}
    if not found:
        return []
    own = ", ".join(f"{value:g}" for value in sorted(found))
    option = ": see norm_eps" if "norm_eps" in inspect.signature(type(model)).parameters else ""
    return [f"{library} adds {eps:g} to the variance in batch normalisation, this network {own}{option}"]


def other_padding(model: nn.Module, library: str) -> list[str]:
    """Say where strided layers pad by the size of the image, as Keras does, and the library's do not."""
    by_size = any(
        isinstance(module, SameMaxPool2d) or (isinstance(module, SameConv2d) and module.pads_by_size)
        for module in model.modules()
    )
    return [f"{library} pads strided layers alike on both sides, this network as Keras: see keras_padding"] * by_size


def strides_that_are_dilated(encoder: nn.Module, library: str) -> list[str]:
    """Say where layers that lost their strides are dilated, as the rest of their stages, and the library's are not."""
    dilated = any(first == second != (1, 1) for first, second in _dilations(encoder))
    return [f"{library} leaves the layers that lost their strides undilated: see dilate_strided"] * dilated


def strides_left_undilated(encoder: nn.Module, library: str) -> list[str]:
    """Say where layers that lost their strides are dilated less than the rest, and the library's are as much."""
    undilated = any(first != second for first, second in _dilations(encoder))
    return [f"{library} dilates the layers that lost their strides: see dilate_strided"] * undilated


def _dilations(encoder: nn.Module) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the dilations of the first block of each stage, which has the stride, and of the second."""
    return [
        (_dilation(encoder.get_submodule(first)), _dilation(encoder.get_submodule(second)))
        for kind, stages in _STAGES.items()
        for first, second in stages
        if isinstance(encoder, kind)
    ]


def _dilation(block: nn.Module) -> tuple[int, ...]:
    """Return the dilation of the first 3x3 convolution, the one that a stride or its replacement comes to."""
    convolutions = (module for module in block.modules() if isinstance(module, nn.Conv2d))
    return next(module.dilation for module in convolutions if module.kernel_size == (3, 3))
