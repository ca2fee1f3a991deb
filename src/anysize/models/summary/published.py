"""Accuracies on ImageNet that others have published, each with its source: for comparison, not measured here."""

from dataclasses import dataclass

__all__ = ["Published", "find_published"]

_KERAS = "keras.io/api/applications"
_TORCHVISION = "torchvision {}"
_TIMM = "timm results-imagenet.csv, {}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure."""

    top1: float
    """Per cent of the 50,000 validation images of ImageNet (ILSVRC 2012) whose first answer is right, one crop each."""
    resolution: int
    """Side in pixels of the square that each image was cropped to."""
    source: str
    """Who published it, and for which weights."""


def _keras(top1: float, resolution: int = 224) -> Published:
    return Published(top1=top1, resolution=resolution, source=_KERAS)


def _torchvision(top1: float, weights: str = "IMAGENET1K_V1", resolution: int = 224) -> Published:
    return Published(top1=top1, resolution=resolution, source=_TORCHVISION.format(weights))


def _timm(top1: float, weights: str, resolution: int = 299) -> Published:
    return Published(top1=top1, resolution=resolution, source=_TIMM.format(weights))


# By the names of the networks: those of anysize have the architecture of the weights that are named.
_PUBLISHED = {
    "xception": _keras(79.0, 299),
    "resnet18": _torchvision(69.758),
    "resnet50": _torchvision(76.130),
    "mobilenet_v2": _torchvision(71.878),
    "xception41": _timm(78.504, "xception41.tf_in1k"),
    "xception65": _timm(79.556, "xception65.tf_in1k"),
    "xception71": _timm(79.872, "xception71.tf_in1k"),
    "torchvision:resnet18": _torchvision(69.758),
    "torchvision:resnet34": _torchvision(73.314),
    "torchvision:resnet50": _torchvision(76.130),
    "torchvision:resnet101": _torchvision(77.374),
    "torchvision:mobilenet_v2": _torchvision(71.878),
    "torchvision:vgg16": _torchvision(71.592),
    "torchvision:densenet121": _torchvision(74.434),
    "torchvision:efficientnet_b0": _torchvision(77.692),
    "timm:inception_resnet_v2": _timm(80.462, "inception_resnet_v2.tf_in1k"),
    "timm:legacy_xception": _timm(79.040, "legacy_xception.tf_in1k"),
    "timm:xception41": _timm(78.504, "xception41.tf_in1k"),
    "timm:xception65": _timm(79.556, "xception65.tf_in1k"),
    "timm:xception71": _timm(79.872, "xception71.tf_in1k"),
    # No network's name: resnet50 with stride_in_1x1=true conv_bias=true, in docs/networks.md.
    "keras:ResNet50": _keras(74.9),
}


def find_published(name: str) -> Published | None:
    """Return what is published of the network of that name, as it is by default: 1,000 classes, 3 channels, no options.

    A name of timm may end in a tag, which names weights: then only the figure of these.

    >>> find_published("resnet50").top1
    76.13
    >>> find_published("timm:xception65.ra3_in1k") is None
    True
    """
    base, _, tag = name.partition(".")
    found = _PUBLISHED.get(base)
    weights = f"{base.partition(':')[2]}.{tag}"
    return found if found is None or not tag or found.source.endswith(f", {weights}") else None
