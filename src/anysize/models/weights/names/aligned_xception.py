"""Xception-41, 65 and 71: ours have timm's names."""

from torch import nn

from anysize.models.weights.layouts import Layout
from anysize.models.weights.settings import other_eps
from anysize.models.zoo.aligned_xception import AlignedXception

__all__ = ["layouts"]


def layouts(model: nn.Module) -> list[Layout]:
    """Return the layouts of xception41, xception65 and xception71."""
    if not isinstance(model, AlignedXception):
        return []
    return [Layout.renamed(model, "timm", str, warnings=other_eps(model, "timm", 1e-3))]
