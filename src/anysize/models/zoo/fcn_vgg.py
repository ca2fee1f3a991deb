"""The fully convolutional networks of Long, Shelhamer and Darrell 2015 (arXiv 1411.4038) on VGG-16."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize.errors import UsageError
from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["Fcn16s", "Fcn32s", "Fcn8s", "bilinear_filter", "vgg16_names"]  # noqa: RUF022 - by code point

_DEPTHS = (2, 2, 3, 3, 3)  # 3x3 convolutions a stage: configuration D of Simonyan and Zisserman 2015
_WIDTHS = (1, 2, 4, 8, 8)  # channels a stage, in widths
_DENSE_WIDTHS = 64
_PADDING = 100  # of the first convolution: the 7x7 window of fc6 then fits once at least, whatever the image


def bilinear_filter(kernel: int) -> Tensor:
    """Return the filter (kernel, kernel) with which a transposed convolution of half its stride upsamples bilinearly.

    >>> bilinear_filter(4)[0]
    tensor([0.0625, 0.1875, 0.1875, 0.0625])
    """
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    line = 1 - (torch.arange(kernel) - centre).abs() / factor
    return line[:, None] * line[None, :]


class _FcnVgg(Network):
    """VGG-16 as convolutions, and what the three networks share; named as in the reference's Caffe files."""

    task = "segment"
    stem_name = "conv1_1"
    last_upsampling: ClassVar[str]

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        width: int,
        dropout: float,
        scores: dict[str, int],
        ups: dict[str, int],
    ) -> None:
        """Build the layers.

        Args:
            num_classes: K.
            in_channels: C.
            width: channels of the first stage.
            dropout: probability behind fc6 and fc7.
            scores: 1x1 convolutions to K classes by name, each with its input in widths.
            ups: transposed convolutions by name, each with its stride.
        """
        super().__init__()
        channels = in_channels
        for stage, (depth, widths) in enumerate(zip(_DEPTHS, _WIDTHS, strict=True), start=1):
            for number in range(1, depth + 1):
                padding = _PADDING if stage == number == 1 else 1
                self.add_module(f"conv{stage}_{number}", nn.Conv2d(channels, widths * width, 3, padding=padding))
                channels = widths * width
        self.fc6 = nn.Conv2d(channels, _DENSE_WIDTHS * width, 7)
        self.fc7 = nn.Conv2d(_DENSE_WIDTHS * width, _DENSE_WIDTHS * width, 1)
        for name, widths in scores.items():
            self.add_module(name, nn.Conv2d(widths * width, num_classes, 1))
        for name, stride in ups.items():
            up = nn.ConvTranspose2d(num_classes, num_classes, 2 * stride, stride=stride, bias=False)
            self.add_module(name, up)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)  # as Caffe pools
        self.drop = nn.Dropout(dropout)
        self.head_names = (*scores, *ups)
        self._initialise(scores)

    def _initialise(self, scores: dict[str, int]) -> None:
        """Scores of zero, bilinear upsampling (section 4.3); below, He's initialisation for want of VGG's weights."""
        for name, module in self.named_modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.zeros_(module.weight)
                diagonal = torch.arange(module.in_channels)
                with torch.no_grad():
                    module.weight[diagonal, diagonal] = bilinear_filter(module.kernel_size[0]).to(module.weight)
            elif isinstance(module, nn.Conv2d):
                if name in scores:
                    nn.init.zeros_(module.weight)
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None  # noqa: S101 - built above
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pool3, pool4 and fc7: (B, 4w, ~H/8, ~W/8), (B, 8w, ~H/16, ~W/16), (B, 64w, ~H/32, ~W/32)."""
        maps, pools = images, []
        for stage, depth in enumerate(_DEPTHS, start=1):
            for number in range(1, depth + 1):
                maps = self.relu(self.get_submodule(f"conv{stage}_{number}")(maps))
            maps = self.pool(maps)  # (B, C, ceil((H + 198) / 2^stage), ...)
            pools.append(maps)
        dense = self.drop(self.relu(self.fc6(maps)))  # (B, 64w, ceil((H + 198) / 32) - 6, ...)
        dense = self.drop(self.relu(self.fc7(dense)))
        return pools[2], pools[3], dense


def _fix(upsampling: nn.ConvTranspose2d, fixed: bool) -> None:
    upsampling.weight.requires_grad_(not fixed)


def _cropped(maps: Tensor, like: Tensor, offset: int) -> Tensor:
    """Cut maps to the size of ``like``, from ``offset`` on: Caffe's Crop layer."""
    # Amounts may be one number an image: cutting is padding by less than nothing.
    height: Any = like.shape[2] - maps.shape[2] + offset
    width: Any = like.shape[3] - maps.shape[3] + offset
    return functional.pad(maps, (-offset, width, -offset, height))


@register_model
class Fcn32s(_FcnVgg):
    """FCN-32s: one score for every 32 pixels, upsampled at once.

    VGG-16 with its dense layers as convolutions, and a segmenter of images of any size from 1x1. The first convolution
    pads by 100 pixels; crops put the maps back over the image, so that the output has exactly its size. With 21
    classes 134,346,581 parameters (the paper's 134 million, table 1) and 1,806,336 of the upsampling. Input as for the
    VGG-16 whose weights are loaded (`anysize.load_weights` with ``head="new"``).

    Args:
        num_classes: K, the background included: 21 for PASCAL VOC.
        in_channels: C, 3 for colour.
        width: channels of the first stage, of which all others are multiples; 64 is VGG-16.
        dropout: probability with which fc6 and fc7 drop a number in training.
        fixed_upsampling: the last upsampling stays bilinear (section 4.3); False lets it learn.
    """

    upscore: nn.ConvTranspose2d
    score_fr: nn.Conv2d

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        dropout: float = 0.5,
        fixed_upsampling: bool = True,
    ) -> None:
        super().__init__(num_classes, in_channels, width, dropout, {"score_fr": _DENSE_WIDTHS}, {"upscore": 32})
        _fix(self.upscore, fixed_upsampling)

    def forward(self, images: Tensor) -> Tensor:
        """Segment images: (B, C, H, W) -> logits (B, K, H, W)."""
        _, _, dense = self.features(images)
        scores = self.upscore(self.score_fr(dense))  # (B, K, ~H, ~W), at least (H + 19, W + 19)
        return _cropped(scores, images, 19)  # (B, K, H, W)


@register_model
class Fcn16s(_FcnVgg):
    """FCN-16s: the scores of fc7, upsampled by two, plus those of pool4; then upsampled by 16.

    The scores of pool4 start as zeros, so with the weights of an FCN-32s it starts with its predictions (section 4.2;
    but for the difference between upsampling twice and once): ``fcn16s.load_state_dict(fcn32s.state_dict(),
    strict=False)`` passes over ``upscore``, which this network does not have.

    Args:
        num_classes: K, the background included.
        in_channels: C, 3 for colour.
        width: channels of the first stage, of which all others are multiples; 64 is VGG-16.
        dropout: probability with which fc6 and fc7 drop a number in training.
        fixed_upsampling: the last upsampling stays bilinear, the one before it learns (section 4.3); False lets both
            learn.
    """

    score_fr: nn.Conv2d
    score_pool4: nn.Conv2d
    upscore2: nn.ConvTranspose2d
    upscore16: nn.ConvTranspose2d

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        dropout: float = 0.5,
        fixed_upsampling: bool = True,
    ) -> None:
        scores = {"score_fr": _DENSE_WIDTHS, "score_pool4": _WIDTHS[3]}
        super().__init__(num_classes, in_channels, width, dropout, scores, {"upscore2": 2, "upscore16": 16})
        _fix(self.upscore16, fixed_upsampling)

    def forward(self, images: Tensor) -> Tensor:
        """Segment images: (B, C, H, W) -> logits (B, K, H, W)."""
        _, pool4, dense = self.features(images)
        scores = self.upscore2(self.score_fr(dense))  # (B, K, ~H/16, ~W/16)
        scores = scores + _cropped(self.score_pool4(pool4), scores, 5)
        return _cropped(self.upscore16(scores), images, 27)  # (B, K, H, W)


@register_model
class Fcn8s(_FcnVgg):
    """FCN-8s: as FCN-16s, its sum upsampled by two, plus the scores of pool3; then upsampled by 8.

    Args:
        num_classes: K, the background included.
        in_channels: C, 3 for colour.
        width: channels of the first stage, of which all others are multiples; 64 is VGG-16.
        dropout: probability with which fc6 and fc7 drop a number in training.
        fixed_upsampling: the last upsampling stays bilinear, those before it learn (section 4.3); False lets all
            learn.
        at_once: for training without FCN-32s and FCN-16s before it: pool4 is scaled by 0.01 and pool3 by 0.0001 before
            they are scored, as in the reference's ``voc-fcn8s-atonce``.
    """

    score_fr: nn.Conv2d
    score_pool4: nn.Conv2d
    score_pool3: nn.Conv2d
    upscore2: nn.ConvTranspose2d
    upscore_pool4: nn.ConvTranspose2d
    upscore8: nn.ConvTranspose2d

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        dropout: float = 0.5,
        fixed_upsampling: bool = True,
        at_once: bool = False,
    ) -> None:
        scores = {"score_fr": _DENSE_WIDTHS, "score_pool4": _WIDTHS[3], "score_pool3": _WIDTHS[2]}
        ups = {"upscore2": 2, "upscore_pool4": 2, "upscore8": 8}
        super().__init__(num_classes, in_channels, width, dropout, scores, ups)
        self.at_once = at_once
        _fix(self.upscore8, fixed_upsampling)

    def forward(self, images: Tensor) -> Tensor:
        """Segment images: (B, C, H, W) -> logits (B, K, H, W)."""
        pool3, pool4, dense = self.features(images)
        if self.at_once:
            pool3, pool4 = pool3 * 0.0001, pool4 * 0.01
        scores = self.upscore2(self.score_fr(dense))  # (B, K, ~H/16, ~W/16)
        scores = scores + _cropped(self.score_pool4(pool4), scores, 5)
        scores = self.upscore_pool4(scores)  # (B, K, ~H/8, ~W/8)
        scores = scores + _cropped(self.score_pool3(pool3), scores, 9)
        return _cropped(self.upscore8(scores), images, 31)  # (B, K, H, W)


def vgg16_names(library: str = "torchvision") -> dict[str, str]:
    """Map the state dict keys of VGG-16 in these networks to those of ``torchvision``'s or ``timm``'s vgg16.

    Shapes are the same but for two: the dense weights of torchvision, (4096, 25088) and (4096, 4096), are to be
    reshaped to (4096, 512, 7, 7) and (4096, 4096, 1, 1). ``conv1_1`` pads by 100 here, which no weight shows.

    Raises:
        UsageError: another library.
    """
    dense = {
        "torchvision": ("classifier.0", "classifier.3"),
        "timm": ("pre_logits.fc1", "pre_logits.fc2"),
    }
    if library not in dense:
        raise UsageError(f"library is {library!r}; VGG-16 can be had from {', '.join(dense)}")
    names, place = {}, 0
    for stage, depth in enumerate(_DEPTHS, start=1):
        for number in range(1, depth + 1):
            names[f"conv{stage}_{number}"] = f"features.{place}"
            place += 2  # a ReLU behind each
        place += 1  # the pool
    names |= dict(zip(("fc6", "fc7"), dense[library], strict=True))
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in names.items() for kind in ("weight", "bias")}
