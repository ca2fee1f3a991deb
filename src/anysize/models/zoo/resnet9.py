"""A nine-layer residual network that learns well from scratch."""

from torch import Tensor, nn

from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["Resnet9"]


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al. 2016, figure 2): (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_conv(channels, channels), _conv(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = maps + self.branch(maps)
        return result


@register_model
class Resnet9(Network):
    """Four strided convolutions, two residual blocks, the average over all positions, and a linear layer.

    After the ResNet-9 of the DAWNBench entries, for images of any size from 1x1 pixel: the resolution is halved by
    strided convolutions (stride 16 in all), which lose no image however small, and cost a quarter of a convolution
    with a pool behind it.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        width: channels of the first layer; 2, 4 and 8 times as many follow.
    """

    task = "classify"
    stem_name = "features.0.0"
    head_names = ("classifier",)

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(in_channels, width, stride=2),  # (B, w, H/2, W/2)
            _conv(width, 2 * width, stride=2),  # (B, 2w, H/4, W/4)
            _Residual(2 * width),
            _conv(2 * width, 4 * width, stride=2),  # (B, 4w, H/8, W/8)
            _conv(4 * width, 8 * width, stride=2),  # (B, 8w, H/16, W/16)
            _Residual(8 * width),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(8 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K)."""
        pooled = self.pool(self.features(images)).flatten(1)  # (B, 8w)
        logits: Tensor = self.classifier(pooled)
        return logits
