"""Label masks: what the values of their files mean, and how they are read and checked."""

from anysize.data.masks.coding import IGNORED, MaskCoding

__all__ = ["IGNORED", "MaskCoding"]
