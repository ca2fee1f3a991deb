"""The small fully convolutional classifier."""

from torch import Tensor, nn

from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["FcnSmall"]


@register_model
class FcnSmall(Network):
    """Two 3x3 convolutions with max-pooling, three 1x1 convolutions, and the average over all positions.

    10,259 parameters with one channel and three classes. Images of 4x4 pixels and more; stride 4.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        final_relu: end with a ReLU before the average. It is the classic form and a trap: a class whose map is
            negative everywhere outputs zero for every image and gets no gradient, so it can never come back (a "dead"
            ReLU), and no logit can be less than zero. ``False`` leaves it out; prefer that for new work.
    """

    task = "classify"
    stem_name = "features.0"
    head_names = ("head.4",)

    def __init__(self, num_classes: int, in_channels: int = 1, final_relu: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, padding="same"),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding="same"),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Conv2d(32, 16, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 8, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, num_classes, 1),
            nn.ReLU(inplace=True) if final_relu else nn.Identity(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K), to be given to a softmax in the loss."""
        maps = self.head(self.features(images))  # (B, K, H // 4, W // 4)
        logits: Tensor = self.pool(maps).flatten(1)  # (B, K)
        return logits
