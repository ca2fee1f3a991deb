"""Networks that take images of one size only say so, instead of failing somewhere in a matrix product."""

from typing import Any

from torch import Tensor, nn

from anysize.errors import ImageSizeError, MixedSizesError, UsageError

__all__ = ["FixedSize"]


class FixedSize(nn.Module):
    """Pass images of ``side`` x ``side`` pixels through, and refuse all others: (B, C, side, side) -> the same.

    It stands in front of a network whose dense layer allows one size. `smallest_side` and `convolutionalize` read the
    size off it.

    Args:
        side: pixels.
        owner: whose layer it is, as errors name it.
        smallest: the least side in pixels that the layers behind it take: 3 for one 3x3 convolution without padding.

    Raises:
        UsageError: ``side``, which networks call ``image_size``, is less than ``smallest``.
        ImageSizeError: an image has another size.
    """

    def __init__(self, side: int, owner: str, smallest: int = 3) -> None:
        super().__init__()
        if side < smallest:
            raise UsageError(f"image_size is {side}; it must be at least {smallest}")
        self.side = side
        self.owner = owner

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        try:
            fits = height == self.side and width == self.side
        except MixedSizesError:  # some images of a ragged batch have the size, others not
            fits = False
        if not fits:
            raise ImageSizeError(
                f"{self.owner} was given images of {_listing(height, width)} (height x width); its dense layer has a "
                f"weight for every pixel, so it takes {self.side}x{self.side} alone, and never mixed sizes",
                hint=f"resize the images to {self.side}x{self.side}; or anysize.convolutionalize(model) for larger "
                "images with the same weights; or a network for any size, such as mnist_anysize",
            )
        return images

    def extra_repr(self) -> str:
        return f"{self.side}"


def _listing(height: Any, width: Any) -> str:
    """Write a size: ``30x28``; of a ragged batch, one an image, at most eight: ``28x28, 28x29``."""
    if not hasattr(height, "known"):  # a number, no length of a ragged batch
        return f"{height}x{width}"
    if height.known is None or width.known is None:
        return "sizes known when the graph runs"
    sizes = [f"{a}x{b}" for a, b in zip(height.known, width.known, strict=True)]
    return ", ".join(sizes[:8] + ["..."] * (len(sizes) > 8))
