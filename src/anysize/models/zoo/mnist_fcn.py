"""A classifier of digits whose dense head is a 7x7 convolution: a map of answers on a larger image."""

from typing import Any

import torch
from torch import Tensor, nn

from anysize.errors import MixedSizesError
from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["MnistFcn"]


@register_model
class MnistFcn(Network):
    """Two 3x3 convolutions with max-pooling, and a head of a 7x7 and a 1x1 convolution.

    55,338 parameters with one channel and ten classes. At 28x28 pixels the 7x7 window fits once: one answer. A larger
    image gets an answer for every such window at every fourth pixel of both directions: a map at stride 4. Its
    answers see 34x34 pixels, so 3 on each side of the 28x28 window, where the window alone would have seen zeros.

    Where every image of a batch has one answer (28 to 31 pixels a side), logits are (B, K); otherwise all of them are
    maps. So it is in a batch of mixed sizes: its images keep their own maps, K x 1 x 1 for the small ones beside
    larger ones. A compiled model knows no sizes while it is traced, and gives maps to every ragged batch.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        average: give one answer for each image of any size, (B, K): the mean of its map. That is what a loss over
            labels of whole images needs.
    """

    task = "classify"
    stem_name = "features.0"
    head_names = ("head.2",)

    def __init__(self, num_classes: int, in_channels: int = 1, average: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Conv2d(32, 32, 7),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, num_classes, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1) if average else None

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K), or maps of them (B, K, H // 4 - 6, W // 4 - 6)."""
        maps: Tensor = self.features(images)  # (B, 32, H // 4, W // 4)
        maps = self.head(maps)  # (B, K, H // 4 - 6, W // 4 - 6)
        if self.pool is not None:
            maps = self.pool(maps)  # (B, K, 1, 1)
            return maps.flatten(1)  # (B, K)
        return maps.flatten(1) if _is_one_answer(maps) else maps  # (B, K) or (B, K, H // 4 - 6, W // 4 - 6)


def _is_one_answer(maps: Tensor) -> bool:
    """Whether the maps of all images are known to be 1x1."""
    height: Any
    height, width = maps.shape[-2:]  # numbers; of a ragged batch, one number an image
    if not isinstance(height, int | torch.SymInt) and torch.compiler.is_compiling():
        return False  # of a ragged batch: one graph serves many sizes
    try:
        return bool(height == 1 and width == 1)
    except MixedSizesError:  # of some images, not of all
        return False
