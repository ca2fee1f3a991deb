"""A convolution that may have a stride."""

from torch import Tensor, nn
from torch.nn import functional

from anysize.kernels import convolve

__all__ = ["StridedConv2d"]


class StridedConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` in every respect, but that a narrow 1x1 convolution with a stride can be trained on a CPU.

    There torch's own may crash, or change other values (see `anysize.kernels`); of ragged batches no
    convolution does.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        if type(input) is not Tensor or self.padding_mode != "zeros":
            return super().forward(input)
        return convolve(
            functional.conv2d, input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
