"""MobileNetV2: ours have torchvision's names; timm's ``mobilenetv2_100`` counts blocks by stage, names by purpose."""

import itertools

from torch import nn

from anysize.models.weights.layouts import Layout
from anysize.models.weights.settings import other_eps, other_padding, strides_that_are_dilated
from anysize.models.zoo.mobilenet_v2 import MobilenetV2

__all__ = ["layouts"]

_DEPTHS = (1, 2, 3, 4, 3, 3, 1)  # Sandler et al. 2018, table 2
_ENDS = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
    "classifier.1": "classifier",
}
# The first block does not expand: one convolution less.
_FIRST = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_OTHERS = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}


def layouts(model: nn.Module) -> list[Layout]:
    """Return the layouts of mobilenet_v2."""
    if not isinstance(model, MobilenetV2):
        return []
    return [
        Layout.renamed(model, library, rename, warnings=_other_settings(model, library))
        for library, rename in (("torchvision", str), ("timm", _timm))
    ]


def _other_settings(model: MobilenetV2, library: str) -> list[str]:
    checks = (other_padding(model, library), strides_that_are_dilated(model, library), other_eps(model, library, 1e-5))
    return list(itertools.chain(*checks))


def _timm(name: str) -> str:
    if name in _ENDS:
        return _ENDS[name]
    _, number, _, inner = name.split(".", 3)  # features.N.conv.REST
    block = int(number) - 1
    starts = list(itertools.accumulate(_DEPTHS, initial=0))
    stage = max(stage for stage, start in enumerate(starts) if start <= block)
    return f"blocks.{stage}.{block - starts[stage]}.{(_OTHERS if block else _FIRST)[inner]}"
