"""The depthwise separable convolution: one filter a channel, and a 1x1 convolution that mixes the channels."""

from torch import Tensor, nn

from anysize.models.layers.same import SameConv2d

__all__ = ["SeparableConv2d"]


class SeparableConv2d(nn.Module):
    """A convolution in two factors: (B, C, H, W) -> (B, C', H', W').

    The classic example, 16 channels to 32 with 3x3 pixels. A plain convolution has 3 * 3 * 16 * 32 weights; with the
    depthwise factor last, 16 * 32 and 3 * 3 * 32; with the depthwise factor first, 3 * 3 * 16 and 16 * 32:

    >>> def counts(layer):
    ...     return [parameter.numel() for parameter in layer.parameters()]
    >>> counts(nn.Conv2d(16, 32, 3, bias=False))
    [4608]
    >>> counts(SeparableConv2d(16, 32, 3, depthwise_first=False))
    [512, 288]
    >>> counts(SeparableConv2d(16, 32, 3))
    [144, 512]

    Both factors stand without a nonlinearity between them: it was found to harm (Chollet 2017, section 4.7).

    Args:
        in_channels, out_channels: C and C'.
        kernel_size: side of the depthwise window, in pixels.
        stride, dilation: of the depthwise window, in pixels.
        bias: whether the second factor adds one.
        depthwise_first: as in Xception and Keras (Chollet 2017, section 1.2: the order matters little in a stack).
            False puts the 1x1 convolution first, as in an Inception module.
        keras_padding: with a stride above 1, pad by each image's own size, as `SameConv2d` does; otherwise
            symmetrically, which is faster. At stride 1 there is no difference.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
        depthwise_first: bool = True,
        keras_padding: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise_first = depthwise_first
        channels = in_channels if depthwise_first else out_channels
        # In the order in which they run, so that a listing of the network reads true.
        if not depthwise_first:
            self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        own_bias = bias and not depthwise_first
        self.depthwise = _depthwise(channels, kernel_size, stride, dilation, bias=own_bias, same=keras_padding)
        if depthwise_first:
            self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) -> (B, C', H', W')."""
        maps: Tensor
        if self.depthwise_first:
            maps = self.pointwise(self.depthwise(input))  # (B, C, H', W'), (B, C', H', W')
        else:
            maps = self.depthwise(self.pointwise(input))  # (B, C', H, W), (B, C', H', W')
        return maps


def _depthwise(channels: int, kernel_size: int, stride: int, dilation: int, *, bias: bool, same: bool) -> nn.Conv2d:
    if same or stride == 1:
        return SameConv2d(channels, channels, kernel_size, stride, dilation=dilation, groups=channels, bias=bias)
    padding = (kernel_size - 1) * dilation // 2
    return nn.Conv2d(channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=bias)
