"""Segmenters: ours have segmentation_models_pytorch's names; classifiers of other libraries fit their encoders."""

import re
from collections.abc import Callable

from torch import nn

from anysize.models.encoder import Encoder
from anysize.models.weights.layouts import Layout, layouts_of
from anysize.models.weights.settings import other_eps, strides_left_undilated
from anysize.models.zoo.aligned_xception import AlignedXception
from anysize.models.zoo.deeplabv3plus import Deeplabv3plus
from anysize.models.zoo.mobilenet_v2 import MobilenetV2
from anysize.models.zoo.resnet import Resnet
from anysize.models.zoo.unet import Unet

__all__ = ["layouts"]

_PREFIX = "encoder."
_SMP_RATES = (12, 24, 36)  # at every output stride


def layouts(model: nn.Module) -> list[Layout]:
    """Return the layouts of deeplabv3plus and unet: smp's, and those of the encoder alone."""
    if not isinstance(model, Deeplabv3plus | Unet):
        return []
    encoder = model.encoder
    warnings = [*_other_dilations(model), *other_eps(model.decoder, "smp", 1e-5)]
    found = [Layout.renamed(model, name, rename, warnings=warnings) for name, rename in _smp(encoder).items()]
    for layout in layouts_of(encoder)[1:]:
        modules = {_PREFIX + ours: theirs for ours, theirs in layout.modules.items()}
        found.append(Layout(name=layout.name, modules=modules, ignored=layout.ignored, warnings=layout.warnings))
    return found


def _smp(encoder: Encoder) -> dict[str, Callable[[str], str]]:
    """Names by layout: ``tu-`` encoders are timm's, one level deeper and, cut into stages, with some dots gone."""
    if isinstance(encoder, AlignedXception):
        return {"smp": _flattened}
    if isinstance(encoder, Resnet):
        return {"smp": str, "smp-tu": _deeper}
    return {"smp": str} if isinstance(encoder, MobilenetV2) else {}


def _deeper(name: str) -> str:
    return f"{_PREFIX}model.{name.removeprefix(_PREFIX)}" if name.startswith(_PREFIX) else name


def _flattened(name: str) -> str:
    return re.sub(r"^(encoder\.model\.(?:stem|blocks))\.", r"\1_", _deeper(name))


def _other_dilations(model: Deeplabv3plus | Unet) -> list[str]:
    if isinstance(model, Unet):
        return []
    warnings = []
    rates = tuple(
        module.dilation[0]
        for name, module in model.decoder.aspp.named_modules()
        if isinstance(module, nn.Conv2d) and re.fullmatch(r"0\.convs\.\d+\.0\.0", name) and module.groups > 1
    )
    if rates != _SMP_RATES:
        warnings.append(f"smp has atrous_rates={_SMP_RATES}, this network {rates}")
    return warnings + strides_left_undilated(model.encoder, "smp")
