"""DeepLab v3+: atrous spatial pyramid pooling, and a decoder at stride 4."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize.errors import UsageError
from anysize.models.encoder import build_encoder, initialise
from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["ATROUS_RATES", "Deeplabv3plus"]

ATROUS_RATES = {32: (3, 6, 9), 16: (6, 12, 18), 8: (12, 24, 36)}
"""By output stride. The paper's (Chen et al. 2017, section 3.3) for 16 and 8; half of the former for 32, so that the
three see as much of the image as they do at the other strides."""

_LOW_LEVEL = 48  # channels that the decoder takes from the encoder: Chen et al. 2018, table 1


def _conv(in_channels: int, out_channels: int, *more: nn.Module) -> nn.Sequential:
    """1x1 convolution, batch normalisation, ReLU: (B, C, h, w) -> (B, C', h, w)."""
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True), *more)


def _separable(in_channels: int, out_channels: int, rate: int = 1) -> tuple[nn.Module, ...]:
    """Atrous separable convolution, batch normalisation, ReLU: (B, C, h, w) -> (B, C', h, w)."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, 1, rate, rate, in_channels, bias=False)
    pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(depthwise, pointwise), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


class _ImagePooling(nn.Sequential):
    """The average over all positions, given back to each of them: (B, C, h, w) -> (B, C', h, w)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_conv(in_channels, out_channels))

    def forward(self, maps: Tensor) -> Tensor:
        size: Any = maps.shape[-2:]
        for layer in self:
            maps = layer(maps)  # (B, C', 1, 1)
        return functional.interpolate(maps, size=size, mode="nearest")  # (B, C', h, w)


class _Aspp(nn.Module):
    """Atrous spatial pyramid pooling with separable convolutions: (B, C, h, w) -> (B, C', h, w)."""

    def __init__(self, in_channels: int, out_channels: int, rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList([_conv(in_channels, out_channels)])
        self.convs.extend(nn.Sequential(*_separable(in_channels, out_channels, rate)) for rate in rates)
        self.convs.append(_ImagePooling(in_channels, out_channels))
        self.project = _conv(len(self.convs) * out_channels, out_channels, nn.Dropout(dropout))

    def forward(self, maps: Tensor) -> Tensor:
        branches = torch.cat([conv(maps) for conv in self.convs], dim=1)  # (B, 5 C', h, w)
        result: Tensor = self.project(branches)  # (B, C', h, w)
        return result


class _Decoder(nn.Module):
    """The pyramid's maps at stride 4, refined by those of the output stride (Chen et al. 2018, figure 2)."""

    def __init__(self, feature_channels: Sequence[int], channels: int, rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        aspp = _Aspp(feature_channels[-1], channels, rates, dropout)
        self.aspp = nn.Sequential(aspp, *_separable(channels, channels))
        self.block1 = _conv(feature_channels[1], _LOW_LEVEL)
        self.block2 = nn.Sequential(*_separable(channels + _LOW_LEVEL, channels))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        low_level = self.block1(pyramid[1])  # (B, 48, H/4, W/4)
        context = _resize(self.aspp(pyramid[-1]), low_level)  # (B, D, H/4, W/4)
        result: Tensor = self.block2(torch.cat([context, low_level], dim=1))  # (B, D, H/4, W/4)
        return result


def _auxiliary(in_channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU, dropout, 1x1 convolution: (B, C, h, w) -> (B, K, h, w).

    The auxiliary branch of PSPNet (Zhao et al. 2017, section 3.3), in the form that its implementations share.
    """
    between = max(in_channels // 4, 1)
    conv = nn.Conv2d(in_channels, between, 3, padding=1, bias=False)
    layers = (conv, nn.BatchNorm2d(between), nn.ReLU(inplace=True), nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Conv2d(between, num_classes, 1))


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    """Interpolate to another map's own size, corner pixels onto corner pixels, as the TensorFlow original does.

    With symmetric padding, pixel i of a map at stride s is centred on the image's pixel s * i. So the first pixels of
    both maps lie on each other, and in images of s * n + 1 pixels (the original's 513) the last ones do as well:
    ``align_corners`` keeps every pixel in its place, where the other convention would move it by up to half a stride.
    At other sizes the map is stretched by what is left behind its last pixel, less than one stride at that edge.
    """
    size: Any = like.shape[-2:]
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=True)


@register_model
class Deeplabv3plus(Network):
    """DeepLab v3+ (Chen et al. 2018, arXiv 1802.02611), with segmentation_models_pytorch's names.

    Maps of logits at the image's own size, for images of 1x1 pixel and more. In training, batch normalisation needs two
    values a channel, and there is one an image behind the image-level pooling: two images a step, or frozen statistics.
    The layers are those of segmentation_models_pytorch: beside the paper's, a separable convolution behind the
    pyramid pooling, and one instead of two in the decoder.

    Args:
        num_classes: K, the number of logits a pixel.
        in_channels: C, 1 for grey, 3 for colour.
        encoder: one of `anysize.models.encoder.list_encoders`.
        output_stride: 32, 16 or 8, of the encoder's last maps.
        atrous_rates: dilations of the pyramid pooling; by default `ATROUS_RATES` of the output stride.
        channels: D, of pyramid pooling and decoder.
        dropout: share of the values behind the pyramid pooling that are dropped in training.
        dilate_strided: see `anysize.models.encoder.atrous_plan`.
        encoder_width: factor on the channel numbers of the encoder.
        aux_head: a small head beside the main one, on the encoder's maps before the last (PSPNet, Zhao et al. 2017,
            section 3.3): in training it gives the deep layers a gradient of their own. Off, nothing of it is there.

    In training a network with ``aux_head`` returns ``{"out": logits, "aux": logits}``, both at the image's size; in
    evaluation logits alone, as without.

    Weights of segmentation_models_pytorch need its defaults: ``atrous_rates=(12, 24, 36)`` at any output stride, and
    with the encoders resnet18, resnet50 and mobilenet_v2 ``dilate_strided=True``. No name or shape says so.

    Raises:
        UsageError: an unknown encoder or option of it, another output stride, or rates below 1.
    """

    task = "segment"
    head_names: tuple[str, ...] = ("segmentation_head.0",)

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        encoder: str = "xception65",
        output_stride: int = 16,
        atrous_rates: Sequence[int] | None = None,
        channels: int = 256,
        dropout: float = 0.1,
        dilate_strided: bool = False,
        encoder_width: float = 1.0,
        aux_head: bool = False,
    ) -> None:
        super().__init__()
        # The aligned Xceptions have no such option: both libraries leave their strided layers undilated.
        options = {"dilate_strided": True} if dilate_strided else {}
        self.encoder = build_encoder(
            encoder, in_channels=in_channels, output_stride=output_stride, width=encoder_width, **options
        )
        rates = tuple(ATROUS_RATES[output_stride] if atrous_rates is None else atrous_rates)
        if not rates or min(rates) < 1:
            raise UsageError(f"atrous_rates is {rates}; it must be one or more dilations of at least 1")
        self.decoder = _Decoder(self.encoder.feature_channels, channels, rates, dropout)
        self.segmentation_head = nn.Sequential(nn.Conv2d(channels, num_classes, 1))
        initialise(self.decoder)
        # Made last, so that with a seed all other weights are those of the network without it.
        self.auxiliary_head: nn.Sequential | None = None
        if aux_head:
            self.auxiliary_head = _auxiliary(self.encoder.feature_channels[-2], num_classes, dropout)
            initialise(self.auxiliary_head[:1])
            # All of it: weights of a network without one leave it new, as a head of other classes.
            self.head_names = (*self.head_names, *(f"auxiliary_head.{number}" for number in (0, 1, 4)))
        self.stem_name = f"encoder.{self.encoder.stem_name}"

    def forward(self, images: Tensor) -> Any:
        """Classify each pixel: (B, C, H, W) -> logits (B, K, H, W); see the class for training with ``aux_head``."""
        pyramid = self.encoder.pyramid(images)
        maps = self.decoder(pyramid)  # (B, D, H/4, W/4)
        logits = _resize(self.segmentation_head(maps), images)  # (B, K, H, W)
        if self.auxiliary_head is None or not self.training:
            return logits
        return {"out": logits, "aux": _resize(self.auxiliary_head(pyramid[-2]), images)}
