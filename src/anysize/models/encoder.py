"""What networks that serve as encoders have in common: a pyramid of maps, dilation in place of stride, width."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from anysize.errors import UsageError
from anysize.models.network import Network
from anysize.models.registry import build_model, list_models, model_name, register_model

__all__ = [
    "Atrous",
    "Encoder",
    "atrous_plan",
    "build_encoder",
    "initialise",
    "list_encoders",
    "register_encoder",
    "scaled",
]

_ENCODERS: dict[str, type["Encoder"]] = {}


class Encoder(Network):
    """A classifier that also gives its intermediate maps, from which a decoder builds one logit a pixel."""

    task = "classify"
    feature_channels: tuple[int, ...]
    """Channels of the five maps of `pyramid`, finest first."""

    @abstractmethod
    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return five maps of images (B, C, H, W), the last of each resolution, finest first.

        Their strides are 2, 4, 8, 16 and 32, none larger than the output stride: with ``output_stride=16`` the last
        two are both at 16. A map at stride s has ceil(H / s) x ceil(W / s) pixels.
        """

    def remove_heads(self) -> None:
        """Leave out the classifier, which a decoder has no use for: its weights, and its names in the state dict."""
        for name in self.head_names:
            self.set_submodule(name, nn.Identity())
        self.head_names = ()


class Atrous(NamedTuple):
    """How one strided layer, or the first of a stage, works when the output stride is limited."""

    nominal: int
    """The stride without a limit. What weights a block has goes by it, so that they fit at every output stride."""
    stride: int
    """1 where dilation took its place."""
    dilation: int
    """Of the strided layer itself."""
    dilation_after: int
    """Of all layers behind it, up to the next strided one."""

    @property
    def later(self) -> "Atrous":
        """The other layers of the stage."""
        return Atrous(1, 1, self.dilation_after, self.dilation_after)


def atrous_plan(
    strides: Sequence[int], output_stride: int, *, start: int, dilate_strided: bool = False
) -> list[Atrous]:
    """Replace strides by dilation beyond the output stride (Chen et al. 2017, arXiv 1706.05587, section 3.1).

    The layers behind a stride that was dropped see a grid that many times finer, and are dilated as much: then the
    values at every such position are those of the strided network. The layer that carried the stride reads the grid
    before it and keeps its dilation, as in TensorFlow's DeepLab, torchvision and timm.

    Args:
        strides: of the strided layers or stages, in order.
        output_stride: 8, 16 or 32.
        start: the stride before the first of them.
        dilate_strided: dilate the strided layer, too, as segmentation_models_pytorch does.

    Raises:
        UsageError: another output stride.

    >>> atrous_plan((1, 2, 2, 2), 16, start=4)[-1]
    Atrous(nominal=2, stride=1, dilation=1, dilation_after=2)
    """
    if output_stride not in (8, 16, 32):
        raise UsageError(f"output_stride is {output_stride}; it must be 8, 16 or 32")
    plan = []
    dilation = 1
    for nominal in strides:
        before = dilation
        stride = nominal if start * nominal <= output_stride else 1
        dilation *= nominal // stride
        start *= stride
        plan.append(Atrous(nominal, stride, dilation if dilate_strided else before, dilation))
    return plan


def scaled(channels: int, width: float) -> int:
    """Multiply a number of channels and round it to a multiple of 8, never down by more than a tenth.

    As the MobileNets do it, in TensorFlow, Keras and torchvision alike.

    >>> [scaled(channels, 0.75) for channels in (16, 24, 32, 1280)], scaled(32, 0.1)
    ([16, 24, 24, 960], 8)
    """
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions for ReLU networks (He et al. 2015, arXiv 1502.01852, equation 10).

    The variance is 2 / fan-out, so that gradients keep their size; of a depthwise convolution it is 2 / fan-in, since
    torch counts the outputs of all groups as if each input reached them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def register_encoder(encoder: type[Encoder]) -> type[Encoder]:
    """Register a class as a model under its own name, ``Resnet18`` as ``resnet18``, and as an encoder."""
    register_model(encoder)
    _ENCODERS[model_name(encoder)] = encoder
    return encoder


def list_encoders() -> list[str]:
    """Return the names that `build_encoder` knows, sorted."""
    return [name for name in list_models() if name in _ENCODERS]


def build_encoder(name: str, *, in_channels: int, **options: Any) -> Encoder:
    """Build a network by name, without its classifier, as the encoder of another.

    Raises:
        UsageError: no network of this name is an encoder, or it has no such option.
    """
    known = list_encoders()
    if name not in known:
        raise UsageError(f"encoder is {name!r}; the encoders are {', '.join(known)}")
    encoder = cast(Encoder, build_model(name, num_classes=1, in_channels=in_channels, options=options))
    encoder.remove_heads()
    return encoder
