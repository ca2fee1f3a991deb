"""Xception: ours has the names of Keras; timm's ``legacy_xception`` counts blocks from the first with a shortcut."""

import re

from torch import nn

from anysize.models.weights.layouts import Layout
from anysize.models.weights.settings import other_eps, other_padding
from anysize.models.zoo.xception import Xception

__all__ = ["layouts"]

_ENDS = {
    "block1_conv1": "conv1",
    "block1_conv1_bn": "bn1",
    "block1_conv2": "conv2",
    "block1_conv2_bn": "bn2",
    "block14_sepconv1": "conv3",
    "block14_sepconv1_bn": "bn3",
    "block14_sepconv2": "conv4",
    "block14_sepconv2_bn": "bn4",
    "predictions": "fc",
}
_FACTORS = {".depthwise": ".conv1", ".pointwise": ".pointwise", "": ""}


def layouts(model: nn.Module) -> list[Layout]:
    """Return the layouts of xception."""
    if not isinstance(model, Xception):
        return []
    return [
        Layout.renamed(model, "timm", _timm, warnings=other_padding(model, "timm") + other_eps(model, "timm", 1e-5))
    ]


def _timm(name: str) -> str:
    layer, dot, factor = name.partition(".")
    factor = _FACTORS[dot + factor]
    if layer in _ENDS:
        return _ENDS[layer] + factor
    block, inner = re.fullmatch(r"block(\d+)_(.+)", layer).groups()  # type: ignore[union-attr]
    place = f"block{int(block) - 1}"
    if inner.startswith("residual"):
        return f"{place}.{'skip' if inner == 'residual_conv' else 'skipbn'}"
    number = int(inner.removeprefix("sepconv").removesuffix("_bn"))
    # ReLU, convolution, batch normalisation, in turn; the first block begins without the ReLU.
    index = 3 * number - 2 + inner.endswith("_bn") - (block == "2")
    return f"{place}.rep.{index}{factor}"
