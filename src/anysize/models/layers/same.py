"""The "same" padding of Keras and TensorFlow: with a stride it depends on each image's own size."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SameConv2d", "SameMaxPool2d", "same_amounts"]

Pair = int | tuple[int, int]


def same_amounts(length: Any, kernel_size: int, stride: int, dilation: int = 1) -> tuple[Any, Any]:
    """Return the pixels that "same" padding puts before and behind an axis of ``length`` pixels.

    The output has ``ceil(length / stride)`` pixels. The smaller half goes before:

        kernel 3, stride 2:  12345 -> 0123450   12345|6 -> 1234560

    PyTorch's own ``padding=1`` is the first form at every size. So a network trained with the one and run with the
    other sees each even image half a stride away.

    Args:
        length: a positive number, or one for each image of a batch (``x.shape[2]``).
        kernel_size, stride, dilation: of the window, in pixels.

    >>> same_amounts(5, 3, 2), same_amounts(6, 3, 2)
    ((1, 1), (0, 1))
    >>> same_amounts(6, 3, 1)
    (1, 1)
    """
    reach = (kernel_size - 1) * dilation
    if stride == 1:
        return reach // 2, reach - reach // 2
    # The last window starts at pixel n - 1 - (n - 1) % s, which is (ceil(n / s) - 1) * s, and reaches so far beyond n:
    total = reach - (length - 1) % stride
    if reach < stride - 1:  # windows with gaps between them may end before the image does: no pixel is cut off
        total = (total + abs(total)) // 2  # max(total, 0), without a comparison: images of one batch may differ
    return total // 2, total - total // 2


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _amounts(x: Any, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> list[Any]:
    """Return (before, after) for rows and for columns."""
    return [same_amounts(x.shape[2 + axis], kernel[axis], stride[axis], dilation[axis]) for axis in range(2)]


def _symmetrical(amounts: list[Any]) -> tuple[int, int] | None:
    """Return the one number an axis that stands before and behind, if that can be told: no copy is needed then."""
    halves = [before for before, after in amounts if isinstance(before, int) and before == after]
    return (halves[0], halves[1]) if len(halves) == 2 else None


class SameConv2d(nn.Conv2d):
    """A convolution with the "same" padding of Keras: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)).

    Right for every image of a ragged batch, odd and even sizes together. Where the stride is 1, and for a kernel of
    one pixel, the convolution pads by itself and nothing is copied.

    Args:
        in_channels, out_channels: C and C'.
        kernel_size, stride, dilation: one number, or one for rows and one for columns.
        groups: ``in_channels`` for a depthwise convolution.
        bias: whether to add one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        *,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        kernels, strides, dilations = _pair(kernel_size), _pair(stride), _pair(dilation)
        reach = [(kernel - 1) * step for kernel, step in zip(kernels, dilations, strict=True)]
        # What every size has in common, the convolution does; only the rest is put around the image.
        own = all((step == 1 and r % 2 == 0) or r == 0 for step, r in zip(strides, reach, strict=True))
        super().__init__(
            in_channels,
            out_channels,
            kernels,
            strides,
            padding=(reach[0] // 2, reach[1] // 2) if own else 0,
            dilation=dilations,
            groups=groups,
            bias=bias,
        )
        self.pads_by_size = not own

    def forward(self, input: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) -> (B, C', H', W')."""
        if not self.pads_by_size:
            return super().forward(input)  # (B, C', H', W')
        amounts = _amounts(input, self.kernel_size, self.stride, self.dilation)
        padding = _symmetrical(amounts)
        if padding is None:
            padding = (0, 0)
            rows, columns = amounts
            input = functional.pad(input, (*columns, *rows))  # (B, C, H + p, W + q)
        # (B, C', H', W')
        return functional.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class SameMaxPool2d(nn.Module):
    """Max-pooling with the "same" padding of Keras: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Right for every image of a ragged batch, odd and even sizes together.

    Args:
        kernel_size: one number, or one for rows and one for columns.
        stride: likewise; by default that of the kernel.
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None) -> None:
        super().__init__()
        self.kernel_size = _pair(kernel_size)
        self.stride = self.kernel_size if stride is None else _pair(stride)

    def forward(self, input: Tensor) -> Tensor:
        """Pool: (B, C, H, W) -> (B, C, H', W')."""
        amounts = _amounts(input, self.kernel_size, self.stride, (1, 1))
        if min(self.stride) > 1 and all(isinstance(length, int) for length in input.shape[2:]):
            # torch's own padding on both sides, and last windows that hang over it, see the same without a copy.
            before = [pair[0] for pair in amounts]
            return functional.max_pool2d(input, self.kernel_size, self.stride, before, ceil_mode=True)
        padding = _symmetrical(amounts)
        if padding is None:
            padding = (0, 0)
            rows, columns = amounts
            # The lowest finite value, as Inductor miscompiles -inf on CPUs; each window holds at least one real pixel.
            input = functional.pad(input, (*columns, *rows), value=torch.finfo(input.dtype).min)  # (B, C, H + p, W + q)
        return functional.max_pool2d(input, self.kernel_size, self.stride, padding)  # (B, C, H', W')

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"
