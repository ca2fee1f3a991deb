"""Which of our networks Keras has too: their layers in the order of ``model.layers``, and the options they take.

Kinds and names were read off ``keras.applications`` (Xception, ResNet50, MobileNetV2); the small networks are plain
stacks, whose layers Keras numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from anysize.errors import UsageError
from anysize.models.network import Network
from anysize.models.weights.keras.layers import KerasLayer
from anysize.models.zoo.fcn_small import FcnSmall
from anysize.models.zoo.mnist_anysize import MnistAnysize
from anysize.models.zoo.mnist_dense import MnistDense
from anysize.models.zoo.mnist_fcn import MnistFcn
from anysize.models.zoo.mobilenet_v2 import MobilenetV2
from anysize.models.zoo.resnet import Resnet50
from anysize.models.zoo.xception import Xception

__all__ = ["KerasNetwork", "keras_network"]


@dataclass(frozen=True)
class KerasNetwork:
    """A network that both have."""

    ours: str
    """Its name for `create_model`."""
    theirs: str
    """What it is called in Keras."""
    layers: tuple[KerasLayer, ...]
    """Those with weights, in the order of Keras's ``model.layers``."""
    options: dict[str, Any]
    """Options of ours with which it computes what Keras computes."""
    wrong: tuple[str, ...]
    """Those of the options that the network at hand was built without."""
    warnings: tuple[str, ...] = ()
    """What else is to be known of its published weights."""


def keras_network(model: nn.Module) -> KerasNetwork:
    """Describe the network of Keras that ``model`` is.

    Raises:
        UsageError: Keras has none, or none that is known here.
    """
    if isinstance(model, Xception):
        return _xception(model)
    if isinstance(model, Resnet50):
        return _resnet50(model)
    if isinstance(model, MobilenetV2):
        return _mobilenet_v2(model)
    for small, name in _SMALL.items():
        if isinstance(model, small):
            return KerasNetwork(name, f"the Keras form of {name}", tuple(_stack(model)), {}, ())
    known = ", ".join(("xception", "resnet50", "mobilenet_v2", *_SMALL.values()))
    raise UsageError(f"{type(model).__name__} has no form in Keras; the networks that have one are {known}")


_SMALL: dict[type[Network], str] = {
    FcnSmall: "fcn_small",
    MnistAnysize: "mnist_anysize",
    MnistDense: "mnist_dense",
    MnistFcn: "mnist_fcn",
}


_BGR = (
    "Keras' published ResNet50 was trained on BGR minus (103.939, 116.779, 123.68): for RGB, turn the first "
    "convolution round with model.conv1.weight.data = model.conv1.weight.data.flip(1)"
)


def _norm(name: str | None, ours: str) -> KerasLayer:
    return KerasLayer("batch_normalization", name, ours)


def _xception(model: Xception) -> KerasNetwork:
    options = {"keras_padding": True, "norm_eps": 1e-3}
    built = {
        "keras_padding": model.keras_padding,
        "norm_eps": math.isclose(model.norm_eps, options["norm_eps"]),
    }
    wrong = tuple(name for name, fits in built.items() if not fits)
    return KerasNetwork("xception", "keras.applications.Xception", tuple(_xception_layers()), options, wrong)


def _xception_layers() -> Iterator[KerasLayer]:
    for name in ("block1_conv1", "block1_conv2"):
        yield KerasLayer("conv2d", name, name)
        yield _norm(f"{name}_bn", f"{name}_bn")
    for block in range(2, 15):
        for number in range(1, 4 if 5 <= block <= 12 else 3):
            name = f"block{block}_sepconv{number}"
            yield KerasLayer("separable_conv2d", name, name)
            yield _norm(f"{name}_bn", f"{name}_bn")
        if block in (2, 3, 4, 13):
            yield KerasLayer("conv2d", None, f"block{block}_residual_conv")
            yield _norm(None, f"block{block}_residual_bn")
    yield KerasLayer("dense", "predictions", "predictions", bias=True)


def _resnet50(model: Resnet50) -> KerasNetwork:
    options = {"stride_in_1x1": True, "conv_bias": True, "norm_eps": 1.001e-5}
    first = model.get_submodule("layer2.0.conv1")
    built = {
        "stride_in_1x1": getattr(first, "stride", None) == (2, 2),
        "conv_bias": model.conv1.bias is not None,
        "norm_eps": math.isclose(model.bn1.eps, options["norm_eps"]),
    }
    layers = [KerasLayer("conv2d", "conv1_conv", "conv1", bias=True), _norm("conv1_bn", "bn1")]
    for stage, depth in enumerate(model.depths, start=1):
        for block in range(depth):
            theirs, ours = f"conv{stage + 1}_block{block + 1}", f"layer{stage}.{block}"
            for number in (1, 2, 3, 0):
                if number or not block:
                    conv, norm = (f"conv{number}", f"bn{number}") if number else ("downsample.0", "downsample.1")
                    layers.append(KerasLayer("conv2d", f"{theirs}_{number}_conv", f"{ours}.{conv}", bias=True))
                    layers.append(_norm(f"{theirs}_{number}_bn", f"{ours}.{norm}"))
    layers.append(KerasLayer("dense", "predictions", "fc", bias=True))
    wrong = tuple(name for name, fits in built.items() if not fits)
    return KerasNetwork("resnet50", "keras.applications.ResNet50", tuple(layers), options, wrong, (_BGR,))


def _mobilenet_v2(model: MobilenetV2) -> KerasNetwork:
    options = {"keras_padding": True, "norm_eps": 1e-3}
    stem, norm = model.get_submodule("features.0.0"), model.get_submodule("features.0.1")
    built = {
        "keras_padding": getattr(stem, "pads_by_size", False),
        "norm_eps": math.isclose(getattr(norm, "eps", 0.0), options["norm_eps"]),
    }
    layers = [KerasLayer("conv2d", "Conv1", "features.0.0"), _norm("bn_Conv1", "features.0.1")]
    last = len(model.features) - 1
    for block in range(1, last):
        theirs, ours = "expanded_conv" if block == 1 else f"block_{block - 1}", f"features.{block}.conv"
        parts = [("depthwise", "0"), ("project", "1")]
        if block > 1:
            parts = [("expand", "0"), ("depthwise", "1"), ("project", "2")]
        for part, index in parts:
            conv, norm_name = (f"{index}.0", f"{index}.1") if part != "project" else (index, str(int(index) + 1))
            kind = "depthwise_conv2d" if part == "depthwise" else "conv2d"
            layers.append(KerasLayer(kind, f"{theirs}_{part}", f"{ours}.{conv}"))
            layers.append(_norm(f"{theirs}_{part}_BN", f"{ours}.{norm_name}"))
    layers += [KerasLayer("conv2d", "Conv_1", f"features.{last}.0"), _norm("Conv_1_bn", f"features.{last}.1")]
    layers.append(KerasLayer("dense", "predictions", "classifier.1", bias=True))
    wrong = tuple(name for name, fits in built.items() if not fits)
    return KerasNetwork("mobilenet_v2", "keras.applications.MobileNetV2", tuple(layers), options, wrong)


def _stack(model: nn.Module) -> Iterator[KerasLayer]:
    """List the convolutions and dense layers of a plain stack, in the order of their making, which is that of use."""
    channels = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            yield KerasLayer("conv2d", None, name, bias=module.bias is not None)
            channels = module.out_channels
        elif isinstance(module, nn.Linear):
            side = math.isqrt(module.in_features // channels) if channels else 0
            flattened = (channels, side, side) if channels else None
            yield KerasLayer("dense", None, name, bias=module.bias is not None, flattened=flattened)
            channels = 0
