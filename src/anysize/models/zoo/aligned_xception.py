"""The modified aligned Xception of DeepLab, with 41, 65 and 71 layers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from anysize.models.encoder import Atrous, Encoder, atrous_plan, initialise, register_encoder, scaled
from anysize.models.layers import StridedConv2d

__all__ = ["AlignedXception", "Xception41", "Xception65", "Xception71"]


@dataclass(frozen=True)
class _Layers:
    """The options that all layers share."""

    norm_eps: float
    norm_momentum: float

    def norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.norm_eps, momentum=self.norm_momentum)


class _ConvNormAct(nn.Module):
    """Convolution, batch normalisation and, unless told otherwise, ReLU: (B, C, H, W) -> (B, C', H/s, W/s)."""

    def __init__(
        self, layers: _Layers, in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = StridedConv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = layers.norm(out_channels)
        self.act = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.act(self.bn(self.conv(maps)))  # (B, C', H/s, W/s)
        return result


class _SeparableConv(nn.Module):
    """3x3 depthwise and 1x1 convolution, batch normalisation behind each, ReLU behind both or neither."""

    def __init__(
        self, layers: _Layers, in_channels: int, out_channels: int, stride: int, dilation: int, relu: bool
    ) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(
            in_channels, in_channels, 3, stride, padding=dilation, dilation=dilation, groups=in_channels, bias=False
        )
        self.bn_dw = layers.norm(in_channels)
        self.act_dw = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.conv_pw = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn_pw = layers.norm(out_channels)
        self.act_pw = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.act_dw(self.bn_dw(self.conv_dw(maps)))  # (B, C, H/s, W/s)
        result: Tensor = self.act_pw(self.bn_pw(self.conv_pw(maps)))  # (B, C', H/s, W/s)
        return result


class _Block(nn.Module):
    """Three separable convolutions, of which the last has the stride, beside a shortcut.

    Each has its ReLU before it; in the network's last block, which has no shortcut, behind both of its factors.
    """

    def __init__(
        self,
        layers: _Layers,
        in_channels: int,
        channels: tuple[int, int, int],
        atrous: Atrous,
        is_last: bool = False,
    ) -> None:
        super().__init__()
        self.is_last = is_last
        self.shortcut: _ConvNormAct | None = None
        if not is_last and (atrous.nominal > 1 or in_channels != channels[-1]):
            self.shortcut = _ConvNormAct(layers, in_channels, channels[-1], 1, atrous.stride, relu=False)
        self.stack = nn.Sequential()
        inputs = in_channels
        for i in range(3):
            if not is_last:  # the first ReLU must leave its input alone: the shortcut reads it
                self.stack.add_module(f"act{i + 1}", nn.ReLU(inplace=i > 0))
            step = atrous.stride if i == 2 else 1
            # The strided convolution and the two before it stand on one grid.
            conv = _SeparableConv(layers, inputs, channels[i], step, atrous.dilation, relu=is_last)
            self.stack.add_module(f"conv{i + 1}", conv)
            inputs = channels[i]

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's maps (B, C', h/s, w/s), and those that its last convolution reads (B, C', h, w)."""
        *layers, last = self.stack
        before = maps
        for layer in layers:
            before = layer(before)  # (B, C', h, w)
        result: Tensor = last(before)  # (B, C', h/s, w/s)
        if not self.is_last:
            # In place: batch normalisation does not need its output again.
            result += maps if self.shortcut is None else self.shortcut(maps)
        return result, before


class AlignedXception(Encoder):
    """The modified aligned Xception (Chen et al. 2018, arXiv 1802.02611, section 3.2 and figure 4), with timm's names.

    Unlike Chollet's Xception, every max-pool is a strided separable convolution, and batch normalisation follows each
    depthwise convolution, too; a ReLU as well in the last block only, as in the published weights (the paper has one
    everywhere). Images of 1x1 pixel and more; in training, batch normalisation needs two
    values a channel behind the last stride, from any images of the batch. A map at stride s has ceil(H / s) x
    ceil(W / s) pixels.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        output_stride: 32, 16 or 8: the last strides are replaced by dilation (see `atrous_plan`).
        norm_eps: added to the variance in batch normalisation.
        norm_momentum: weight of the new statistics in the running ones; TensorFlow's DeepLab: 0.0003.
        width: factor on all channel numbers.

    Raises:
        UsageError: another output stride.
    """

    stem_name = "stem.0.conv"
    head_names = ("head.fc",)
    entry: ClassVar[tuple[tuple[int, int], ...]] = ((128, 2), (256, 2), (728, 2))
    """Channels and stride of each block of the entry flow."""
    middle: ClassVar[int]
    """Blocks of the middle flow."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        output_stride: int = 32,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.1,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        layers = _Layers(norm_eps, norm_momentum)
        full = [((channels,) * 3, stride) for channels, stride in self.entry]
        full += [((728, 728, 728), 1)] * self.middle
        full += [((728, 1024, 1024), 2), ((1536, 1536, 2048), 1)]  # the exit flow
        plan = atrous_plan([stride for _, stride in full], output_stride, start=2)
        stem, channels = scaled(32, width), scaled(64, width)
        self.stem = nn.Sequential(
            _ConvNormAct(layers, in_channels, stem, 3, stride=2), _ConvNormAct(layers, stem, channels, 3)
        )
        self.blocks = nn.ModuleList()
        self.taps: tuple[int, ...] = ()
        tapped = []
        for index, ((wide, _), atrous) in enumerate(zip(full, plan, strict=True)):
            outputs = (scaled(wide[0], width), scaled(wide[1], width), scaled(wide[2], width))
            self.blocks.append(_Block(layers, channels, outputs, atrous, is_last=index == len(full) - 1))
            channels = outputs[2]
            if atrous.nominal > 1:
                self.taps += (index,)
                tapped.append(outputs[1])
        self.head = nn.Sequential()
        self.head.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.head.add_module("flatten", nn.Flatten())
        self.head.add_module("fc", nn.Linear(channels, num_classes))
        self.feature_channels = (*tapped, channels)
        initialise(self)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return what each strided convolution reads, and the maps of the last block: see `Encoder.pyramid`."""
        maps = self.stem(images)  # (B, 64, H/2, W/2)
        found = []
        for index, block in enumerate(self.blocks):
            maps, before = block(maps)  # (B, C', H/s, W/s)
            if index in self.taps:
                found.append(before)
        return [*found, maps]

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K)."""
        logits: Tensor = self.head(self.pyramid(images)[-1])  # (B, K)
        return logits


@register_encoder
class Xception41(AlignedXception):
    """Aligned Xception-41: 26,969,560 parameters with three channels, 1,000 classes. Options: see `AlignedXception`."""

    middle = 8


@register_encoder
class Xception65(AlignedXception):
    """Aligned Xception-65: 39,916,312 parameters with three channels, 1,000 classes. Options: see `AlignedXception`."""

    middle = 16


@register_encoder
class Xception71(AlignedXception):
    """Aligned Xception-71: 42,338,736 parameters with three channels, 1,000 classes. Options: see `AlignedXception`."""

    entry = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
    middle = 16
