"""U-Net on an encoder that was made for classification."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize.errors import UsageError
from anysize.models.encoder import build_encoder, initialise
from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["Unet"]

_STEPS = 5  # the pyramid's maps and the image: five upsamplings


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU: (B, C, h, w) -> (B, C', h, w)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class _Block(nn.Module):
    """Upsample to the size of the finer map, join it, and convolve twice (Ronneberger et al. 2015, figure 1)."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels + skip_channels, out_channels)
        self.conv2 = _conv(out_channels, out_channels)

    def forward(self, maps: Tensor, finer: Tensor, has_skip: bool) -> Tensor:
        size: Any = finer.shape[-2:]
        maps = functional.interpolate(maps, size=size, mode="nearest")  # (B, C, 2h, 2w), or one less
        if has_skip:
            maps = torch.cat([maps, finer], dim=1)  # (B, C + C'', 2h, 2w)
        result: Tensor = self.conv2(self.conv1(maps))  # (B, C', 2h, 2w)
        return result


class _Decoder(nn.Module):
    """From the coarsest map of a pyramid to the image's own size."""

    def __init__(self, feature_channels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        coarsest, *skips = reversed(feature_channels)
        inputs = (coarsest, *channels[:-1])
        widths = zip(inputs, (*skips, 0), channels, strict=True)
        self.blocks = nn.ModuleList(_Block(*three) for three in widths)

    def forward(self, pyramid: Sequence[Tensor], images: Tensor) -> Tensor:
        maps, *skips = reversed(pyramid)  # (B, C, H/32, W/32)
        *blocks, last = self.blocks
        for block, skip in zip(blocks, skips, strict=True):
            maps = block(maps, skip, has_skip=True)  # (B, C', H/16, W/16), ... (B, C', H/2, W/2)
        result: Tensor = last(maps, images, has_skip=False)  # (B, C', H, W); the image itself is not joined
        return result


@register_model
class Unet(Network):
    """U-Net (Ronneberger et al. 2015, arXiv 1505.04597) on an encoder, with segmentation_models_pytorch's names.

    Unlike the original it pads, so that the maps of logits have the image's own size, for images of 1x1 pixel and
    more. Each upsampling goes to the size of the map that it is joined with, so that odd sizes need no cropping. In
    training, batch normalisation needs two values a channel behind the last stride, from any images of the batch.

    Args:
        num_classes: K, the number of logits a pixel.
        in_channels: C, 1 for grey, 3 for colour.
        encoder: one of `anysize.models.encoder.list_encoders`.
        channels: of the decoder's five blocks, coarsest first.
        encoder_width: factor on the channel numbers of the encoder.

    Raises:
        UsageError: an unknown encoder, or other than five numbers of channels.
    """

    task = "segment"
    head_names = ("segmentation_head.0",)

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        encoder: str = "resnet18",
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        encoder_width: float = 1.0,
    ) -> None:
        super().__init__()
        if len(channels) != _STEPS or min(channels) < 1:
            raise UsageError(f"channels is {tuple(channels)}; it must be {_STEPS} numbers of at least 1")
        self.encoder = build_encoder(encoder, in_channels=in_channels, width=encoder_width)
        self.decoder = _Decoder(self.encoder.feature_channels, channels)
        self.segmentation_head = nn.Sequential(nn.Conv2d(channels[-1], num_classes, 3, padding=1))
        initialise(self.decoder)
        self.stem_name = f"encoder.{self.encoder.stem_name}"

    def forward(self, images: Tensor) -> Tensor:
        """Classify each pixel: (B, C, H, W) -> logits (B, K, H, W)."""
        maps = self.decoder(self.encoder.pyramid(images), images)  # (B, C', H, W)
        logits: Tensor = self.segmentation_head(maps)  # (B, K, H, W)
        return logits
