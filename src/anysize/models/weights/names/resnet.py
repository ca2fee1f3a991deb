"""Residual networks: ours have torchvision's names, which timm took over."""

from torch import nn

from anysize.models.weights.layouts import Layout
from anysize.models.weights.settings import other_eps, strides_that_are_dilated
from anysize.models.zoo.resnet import Resnet

__all__ = ["layouts"]


def layouts(model: nn.Module) -> list[Layout]:
    """Return the layouts of resnet18 and resnet50."""
    if not isinstance(model, Resnet):
        return []
    return [
        Layout.renamed(model, library, str, warnings=_other_strides(model, library) + other_eps(model, library, 1e-5))
        for library in ("torchvision", "timm")
    ]


def _other_strides(model: Resnet, library: str) -> list[str]:
    first = model.layer2.get_submodule("0.conv1")
    strided = isinstance(first, nn.Conv2d) and first.kernel_size == (1, 1) and first.stride != (1, 1)
    if strided:  # no option dilates those
        return [f"{library} has the stride in the 3x3 convolution: see stride_in_1x1"]
    return strides_that_are_dilated(model, library)
