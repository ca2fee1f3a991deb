"""Layers that several networks share."""

from anysize.models.layers.same import SameConv2d, SameMaxPool2d, same_amounts
from anysize.models.layers.separable import SeparableConv2d
from anysize.models.layers.strided import StridedConv2d

__all__ = ["SameConv2d", "SameMaxPool2d", "SeparableConv2d", "StridedConv2d", "same_amounts"]
