"""MobileNetV2: inverted residuals with linear bottlenecks."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anysize.models.encoder import Atrous, Encoder, atrous_plan, initialise, register_encoder, scaled
from anysize.models.layers.same import SameConv2d

__all__ = ["MobilenetV2"]

# Expansion, output channels, blocks, stride of the first one: Sandler et al. 2018, table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class _Layers:
    """The options that all layers share."""

    keras_padding: bool
    norm_eps: float
    norm_momentum: float

    def norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.norm_eps, momentum=self.norm_momentum)

    def conv(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Sequential:
        """Convolution, batch normalisation, ReLU6: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        conv: nn.Conv2d
        if self.keras_padding and stride > 1:  # at stride 1 both paddings are the same
            conv = SameConv2d(in_channels, out_channels, kernel, stride, dilation=dilation, groups=groups, bias=False)
        else:
            padding = kernel // 2 * dilation
            conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
        return nn.Sequential(conv, self.norm(out_channels), nn.ReLU6(inplace=True))


class _InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project without activation (Sandler et al. 2018, table 1)."""

    def __init__(self, layers: _Layers, in_channels: int, out_channels: int, expansion: int, atrous: Atrous) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.has_shortcut = atrous.nominal == 1 and in_channels == out_channels
        expand = [layers.conv(in_channels, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            layers.conv(hidden, hidden, 3, atrous.stride, atrous.dilation, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            layers.norm(out_channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.conv(maps)  # (B, C', h/s, w/s)
        return maps + result if self.has_shortcut else result


@register_encoder
class MobilenetV2(Encoder):
    """MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381, table 2), with torchvision's names.

    3,504,872 parameters with three channels and 1,000 classes. Images of 1x1 pixel and more; in training, batch
    normalisation needs two values a channel behind the last stride, from any images of the batch. A map at stride s has
    ceil(H / s) x ceil(W / s) pixels.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        output_stride: 32, 16 or 8: the last strides are replaced by dilation (see `atrous_plan`).
        width: factor on all channel numbers, rounded to multiples of 8; the last layer never gets fewer than 1,280.
        keras_padding: strided convolutions pad by the parity of each image's size, as in Keras and TensorFlow.
        norm_eps: added to the variance in batch normalisation; Keras: 1e-3.
        norm_momentum: weight of the new statistics in the running ones; Keras: 0.001.
        dilate_strided: see `atrous_plan`; segmentation_models_pytorch's dilation, for its weights.
        dropout: share of the pooled values that are dropped in training; Keras: 0.

    With ``keras_padding=True, norm_eps=1e-3`` it is ``keras.applications.MobileNetV2``.

    Raises:
        UsageError: another output stride.
    """

    stem_name = "features.0.0"
    head_names = ("classifier.1",)

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        output_stride: int = 32,
        width: float = 1.0,
        keras_padding: bool = False,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        dilate_strided: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers = _Layers(keras_padding, norm_eps, norm_momentum)
        plan = atrous_plan([stage[3] for stage in _STAGES], output_stride, start=2, dilate_strided=dilate_strided)
        channels = scaled(32, width)
        blocks: list[nn.Module] = [layers.conv(in_channels, channels, 3, stride=2)]
        taps = []  # the last block before each stride: its maps are the pyramid's
        tapped = []
        for (expansion, full, depth, stride), atrous in zip(_STAGES, plan, strict=True):
            out_channels = scaled(full, width)
            if stride > 1:
                taps.append(len(blocks) - 1)
                tapped.append(channels)
            for index in range(depth):
                step = atrous.later if index else atrous
                blocks.append(_InvertedResidual(layers, channels, out_channels, expansion, step))
                channels = out_channels
        last = scaled(1280, max(1.0, width))
        blocks.append(layers.conv(channels, last, 1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.taps = (*taps, len(blocks) - 1)
        self.feature_channels = (*tapped, last)
        initialise(self)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the maps before each stride and those of the last layer: see `Encoder.pyramid`."""
        maps = images
        found = []
        for index, block in enumerate(self.features):
            maps = block(maps)  # (B, C', H / s, W / s)
            if index in self.taps:
                found.append(maps)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K)."""
        maps = self.features(images)  # (B, 1280, H/32, W/32)
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(maps, 1), 1)  # (B, 1280)
        logits: Tensor = self.classifier(pooled)  # (B, K)
        return logits
