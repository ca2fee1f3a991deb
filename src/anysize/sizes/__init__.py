"""Integer arithmetic on sizes: what comes out of an operator for each image. No torch, no pixels."""

from anysize.sizes.windows import Window, format_size

__all__ = ["Window", "format_size"]
