"""Residual networks with 18 and 50 layers."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from anysize.models.encoder import Atrous, Encoder, atrous_plan, initialise, register_encoder, scaled
from anysize.models.layers import StridedConv2d

__all__ = ["Resnet", "Resnet18", "Resnet50"]


@dataclass(frozen=True)
class _Layers:
    """The options that all layers share."""

    conv_bias: bool
    norm_eps: float
    norm_momentum: float
    stride_in_1x1: bool

    def conv(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
        """Make a convolution whose output has ceil(size / stride) pixels."""
        padding = kernel // 2 * dilation
        return StridedConv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=self.conv_bias)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.norm_eps, momentum=self.norm_momentum)

    def downsample(self, in_channels: int, out_channels: int, atrous: Atrous) -> nn.Sequential | None:
        """Make the projection of the shortcut, None where the identity fits (He et al. 2016, option B)."""
        if atrous.nominal == 1 and in_channels == out_channels:
            return None
        return nn.Sequential(self.conv(in_channels, out_channels, 1, atrous.stride), self.norm(out_channels))


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the shortcut (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, layers: _Layers, in_channels: int, channels: int, atrous: Atrous) -> None:
        super().__init__()
        self.conv1 = layers.conv(in_channels, channels, 3, atrous.stride, atrous.dilation)
        self.bn1 = layers.norm(channels)
        self.conv2 = layers.conv(channels, channels, 3, dilation=atrous.dilation_after)
        self.bn2 = layers.norm(channels)
        self.downsample = layers.downsample(in_channels, channels, atrous)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)  # (B, C', h/s, w/s)
        maps = self.relu(self.bn1(self.conv1(maps)))  # (B, C', h/s, w/s)
        result: Tensor = self.bn2(self.conv2(maps))
        result += shortcut  # in place: batch normalisation does not need its output again
        activated: Tensor = self.relu(result)
        return activated


class _Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, beside the shortcut (He et al. 2016, figure 5 right)."""

    expansion = 4

    def __init__(self, layers: _Layers, in_channels: int, channels: int, atrous: Atrous) -> None:
        super().__init__()
        first, middle = atrous.stride, 1
        dilation = atrous.dilation_after
        if not layers.stride_in_1x1:
            first, middle = middle, first
            dilation = atrous.dilation
        out_channels = channels * self.expansion
        self.conv1 = layers.conv(in_channels, channels, 1, first)
        self.bn1 = layers.norm(channels)
        self.conv2 = layers.conv(channels, channels, 3, middle, dilation)
        self.bn2 = layers.norm(channels)
        self.conv3 = layers.conv(channels, out_channels, 1)
        self.bn3 = layers.norm(out_channels)
        self.downsample = layers.downsample(in_channels, out_channels, atrous)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)  # (B, 4C', h/s, w/s)
        maps = self.relu(self.bn1(self.conv1(maps)))  # (B, C', h, w)
        maps = self.relu(self.bn2(self.conv2(maps)))  # (B, C', h/s, w/s)
        result: Tensor = self.bn3(self.conv3(maps))  # (B, 4C', h/s, w/s)
        result += shortcut  # in place: batch normalisation does not need its output again
        activated: Tensor = self.relu(result)
        return activated


class Resnet(Encoder):
    """A residual network (He et al. 2016, arXiv 1512.03385, table 1), with torchvision's names.

    Images of 1x1 pixel and more; in training, batch normalisation needs two values a channel behind the last stride,
    from any images of the batch. A map at stride s has ceil(H / s) x ceil(W / s) pixels.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        output_stride: 32, 16 or 8: the last strides are replaced by dilation (see `atrous_plan`).
        stride_in_1x1: a strided bottleneck has its stride in the first 1x1 convolution, as in the paper and in Keras,
            rather than in the 3x3 ("version 1.5": torchvision, timm; a little better and slower).
        conv_bias: the convolutions have biases, as in Keras.
        norm_eps: added to the variance in batch normalisation; Keras: 1.001e-5.
        norm_momentum: weight of the new statistics in the running ones; Keras: 0.01.
        dilate_strided: see `atrous_plan`; segmentation_models_pytorch's dilation, for its weights.
        width: factor on all channel numbers.

    With ``stride_in_1x1=True, conv_bias=True, norm_eps=1.001e-5`` resnet50 is ``keras.applications.ResNet50``. That
    pads with zeros before max-pooling and this with the lowest number, which is the same behind a ReLU.

    Raises:
        UsageError: another output stride.
    """

    stem_name = "conv1"
    head_names = ("fc",)
    block: ClassVar[type[_BasicBlock] | type[_Bottleneck]]
    depths: ClassVar[tuple[int, int, int, int]]
    """Blocks of the four stages."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        output_stride: int = 32,
        stride_in_1x1: bool = False,
        conv_bias: bool = False,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        dilate_strided: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        layers = _Layers(conv_bias, norm_eps, norm_momentum, stride_in_1x1)
        widths = [scaled(channels, width) for channels in (64, 128, 256, 512)]
        plan = atrous_plan((1, 2, 2, 2), output_stride, start=4, dilate_strided=dilate_strided)
        self.conv1 = layers.conv(in_channels, widths[0], 7, 2)
        self.bn1 = layers.norm(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = [widths[0], *(channels * self.block.expansion for channels in widths)]
        stages = [
            self._stage(layers, inputs[stage], widths[stage], self.depths[stage], plan[stage]) for stage in range(4)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs[-1], num_classes)
        self.feature_channels = tuple(inputs)
        initialise(self)

    @classmethod
    def _stage(cls, layers: _Layers, in_channels: int, channels: int, depth: int, atrous: Atrous) -> nn.Sequential:
        blocks: list[nn.Module] = [cls.block(layers, in_channels, channels, atrous)]
        blocks += [cls.block(layers, channels * cls.block.expansion, channels, atrous.later) for _ in range(1, depth)]
        return nn.Sequential(*blocks)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the maps of the stem and of the four stages: see `Encoder.pyramid`."""
        maps = [self.relu(self.bn1(self.conv1(images)))]  # (B, w, H/2, W/2)
        maps.append(self.layer1(self.maxpool(maps[-1])))  # (B, w or 4w, H/4, W/4)
        maps.append(self.layer2(maps[-1]))  # (B, 2w or 8w, H/8, W/8)
        maps.append(self.layer3(maps[-1]))  # (B, 4w or 16w, H/16, W/16)
        maps.append(self.layer4(maps[-1]))  # (B, 8w or 32w, H/32, W/32)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K)."""
        pooled = torch.flatten(self.avgpool(self.pyramid(images)[-1]), 1)  # (B, 8w or 32w)
        logits: Tensor = self.fc(pooled)  # (B, K)
        return logits


@register_encoder
class Resnet18(Resnet):
    """ResNet-18: 11,689,512 parameters with three channels and 1,000 classes. Options: see `Resnet`."""

    block = _BasicBlock
    depths = (2, 2, 2, 2)


@register_encoder
class Resnet50(Resnet):
    """ResNet-50: 25,557,032 parameters with three channels and 1,000 classes. Options: see `Resnet`.

    The often quoted 25,636,712 are of ``keras.applications.ResNet50``: with the running statistics of batch
    normalisation (53,120) and with biases before it (26,560).
    """

    block = _Bottleneck
    depths = (3, 4, 6, 3)
