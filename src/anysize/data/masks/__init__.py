"""Label masks: what the values of their files mean, and how they are read and checked."""

from anysize.data.masks.coding import IGNORED, UNKNOWN, MaskCoding
from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.palette import default_palette
from anysize.data.masks.reading import read_mask
from anysize.data.masks.rules import MaskRules, mask_rules

__all__ = [
    "IGNORED",
    "UNKNOWN",
    "MaskCoding",
    "MaskProblem",
    "MaskRules",
    "default_palette",
    "mask_rules",
    "read_mask",
]
