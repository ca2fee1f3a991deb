"""A classifier of digits of any size: the strongest response anywhere, channel by channel."""

from torch import Tensor, nn

from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["MnistAnysize"]


@register_model
class MnistAnysize(Network):
    """Two 3x3 convolutions, the maximum over all positions, and a 1x1 convolution.

    5,130 parameters with one channel and ten classes. Images of any size from 1x1 pixel; stride 1.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
    """

    task = "classify"
    stem_name = "features.0"
    head_names = ("head",)

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Conv2d(32, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K), to be given to a softmax in the loss."""
        strongest = self.pool(self.features(images))  # (B, 32, 1, 1)
        logits: Tensor = self.head(strongest).flatten(1)  # (B, K)
        return logits
