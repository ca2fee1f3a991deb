"""Convolutions whose gradients are right: around kernels that answer garbage in silence, or write where they must not.

First: oneDNN on a CPU with native bfloat16 returns uninitialised memory as the weight gradient of a depthwise, dilated
convolution of stride 1 (transposed ones too) that is wider than 28 pixels. The result and the gradient of the input are
right, so training goes on, with noise for gradients. A channels_last input is affected, and so is an NCHW input as soon
as the *weight* has channels_last strides, as in any model after ``model.to(memory_format=torch.channels_last)``;
``weight.contiguous()`` does not undo that, because with one channel a group both layouts count as contiguous.

What is wrong differs from machine to machine, so it is measured, once a process. `anysize doctor numerics` shows it.

Second: oneDNN writes the weight gradient of a strided 1x1 convolution past the end of its workspace where a
channels_last canvas has fewer channels than a block of the kernel (16 with AVX-512, 8 with AVX2): a crash, or values
that belonged to others (https://github.com/uxlfoundation/oneDNN/issues/6035). The shortcut of every narrow ResNet is
such a convolution. It cannot be measured, as that corrupts memory; so on every CPU the pixels that the stride leaves
out are dropped first, which is the same arithmetic.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["convolve", "convolve_transposed", "weight_gradient_is_wrong"]

_UNDILATED = (1, (1,), (1, 1), (1, 1, 1))
_REDUCED = (torch.bfloat16, torch.float16)
_BLOCK = 16  # channels, the largest that any of oneDNN's kernels has on a CPU
_LAYOUTS = {
    1: (torch.contiguous_format,),
    2: (torch.contiguous_format, torch.channels_last),
    3: (torch.contiguous_format, torch.channels_last_3d),
}  # by number of spatial axes
# Of right kernels the largest error, over the largest gradient, is below 0.005 in bfloat16; of wrong ones above 0.6.
_GARBAGE = 0.1


def convolve(
    function: Callable[..., Tensor],
    canvas: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    """Convolve: (N, C_in, *spatial) -> (N, C_out, *spatial'), with right gradients on every machine.

    Args:
        function: ``torch.nn.functional.conv1d``, ``conv2d`` or ``conv3d``; the other arguments are its own.

    Calls ``function``, except where this machine's kernel for the weight gradient is wrong: there it computes in
    float32 and rounds the result to the type that ``function`` would have returned; or leaves out the pixels that a
    strided 1x1 convolution does not see.
    """
    # Nearly every call leaves here: it may cost no more than these lines.
    if weight.shape[1] < _BLOCK and _is_strided_pointwise(canvas, weight, stride, padding):
        steps = (stride,) * (weight.ndim - 2) if isinstance(stride, int) else stride
        seen = [slice(None, None, step) for step in steps]
        return function(canvas[:, :, *seen], weight, bias, 1, 0, 1, groups)
    if groups == 1 or not _is_dilated(dilation):
        return function(canvas, weight, bias, stride, padding, dilation, groups)
    reduced = _reduced_dtype(canvas, weight)
    if reduced is None or not _goes_round(canvas, weight, reduced, weight.shape[0], groups, transposed=False):
        return function(canvas, weight, bias, stride, padding, dilation, groups)
    return _in_float32(function, canvas, weight, bias, (stride, padding, dilation, groups), reduced)


def convolve_transposed(
    function: Callable[..., Tensor],
    canvas: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    """Convolve transposed: (N, C_in, *spatial) -> (N, C_out, *spatial'), with right gradients on every machine.

    Args:
        function: ``torch.nn.functional.conv_transpose1d``, ``conv_transpose2d`` or ``conv_transpose3d``; the other
            arguments are its own, in its own order.

    As `convolve`.
    """
    if groups == 1 or not _is_dilated(dilation):
        return function(canvas, weight, bias, stride, padding, output_padding, groups, dilation)
    reduced, channels_out = _reduced_dtype(canvas, weight), weight.shape[1] * groups
    if reduced is None or not _goes_round(canvas, weight, reduced, channels_out, groups, transposed=True):
        return function(canvas, weight, bias, stride, padding, output_padding, groups, dilation)
    return _in_float32(function, canvas, weight, bias, (stride, padding, output_padding, groups, dilation), reduced)


def _is_strided_pointwise(canvas: Tensor, weight: Tensor, stride: Any, padding: Any) -> bool:
    """Whether it is a 1x1 convolution that leaves out pixels, on the CPU, whose weight is to have a gradient."""
    if canvas.device.type != "cpu" or not (weight.requires_grad and torch.is_grad_enabled()):
        return False
    if any(length != 1 for length in weight.shape[2:]):
        return False
    strided = stride > 1 if isinstance(stride, int) else any(step > 1 for step in stride)
    return strided and (padding in (0, "valid") or (not isinstance(padding, (int, str)) and not any(padding)))


def _is_dilated(dilation: Any) -> bool:
    return dilation not in _UNDILATED and not (isinstance(dilation, list) and set(dilation) == {1})


def _reduced_dtype(canvas: Tensor, weight: Tensor) -> torch.dtype | None:
    """The reduced type in which the call would be computed on the CPU with a gradient for the weight, or None."""
    if canvas.device.type != "cpu" or not weight.requires_grad or not torch.is_grad_enabled():
        return None
    dtype = canvas.dtype
    if torch.is_autocast_enabled("cpu"):
        # Autocast leaves float64 as it is; everything else is cast.
        dtype = dtype if torch.float64 in (dtype, weight.dtype) else torch.get_autocast_dtype("cpu")
    elif weight.dtype != dtype:
        return None  # refused by the function, in its own words
    return dtype if dtype in _REDUCED else None


def _goes_round(
    canvas: Tensor, weight: Tensor, dtype: torch.dtype, channels_out: int, groups: int, *, transposed: bool
) -> bool:
    # A graph cannot run the probe, and its compiler chooses the memory layouts itself: float32 is right whatever comes.
    if torch.compiler.is_compiling():
        return True
    # A probe would see the other kernels, and backward chooses the kernel anew when it runs.
    if not torch.backends.mkldnn.enabled:
        return True
    depthwise = canvas.shape[1] == channels_out == groups
    return weight_gradient_is_wrong(weight.ndim - 2, dtype, depthwise=depthwise, transposed=transposed)


def _in_float32(
    function: Callable[..., Tensor],
    canvas: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: tuple[Any, ...],
    dtype: torch.dtype,
) -> Tensor:
    # Of what is right (NCHW copies, mkldnn off, float32) float32 is fastest: a DeepLabV3+ branch, forward and backward
    # of 4x256x64x64 at dilation 6, takes 71 ms, 129 ms on NCHW copies and 187 ms in the kernel that is wrong.
    # Backward runs later, outside any context, and stays in float32 because that is what was recorded.
    with torch.autocast("cpu", enabled=False):
        result = function(canvas.float(), weight.float(), None if bias is None else bias.float(), *settings)
        return result.to(dtype)


@cache
def weight_gradient_is_wrong(axes: int, dtype: torch.dtype, *, depthwise: bool, transposed: bool) -> bool:
    """Say whether this CPU's weight gradient of a grouped, dilated convolution is garbage: measured, once a process.

    Args:
        axes: spatial axes, 1 to 3.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
        depthwise: one channel a group, rather than four.
        transposed: the gradient of the transposed convolution.

    A few milliseconds, on tensors of 33 and 64 pixels in width, in both memory layouts. No random state is touched.
    """
    return any(_probe_error(axes, dtype, depthwise, transposed, width) > _GARBAGE for width in (33, 64))


def _probe_error(axes: int, dtype: torch.dtype, depthwise: bool, transposed: bool, width: int) -> float:
    """The largest error of the weight gradient over its largest value, against float64; infinite for NaN."""
    generator = torch.Generator().manual_seed(width)
    channels_per_group = 1 if depthwise else 4
    channels = 8 * channels_per_group
    shape = (1, channels, *{1: (), 2: (8,), 3: (2, 5)}[axes], width)
    shapes = (shape, shape, (channels, channels_per_group, *(3,) * axes))
    # The device is named because torch.set_default_device would put them elsewhere.
    exact = [torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu") for shape in shapes]
    rounded = [tensor.to(dtype) for tensor in exact]
    truth = _weight_gradient([tensor.double() for tensor in rounded], 8, transposed)
    worst = 0.0
    for layout in _LAYOUTS[axes]:
        found = _weight_gradient([tensor.contiguous(memory_format=layout) for tensor in rounded], 8, transposed)
        error = ((found.double() - truth).abs().max() / truth.abs().max()).nan_to_num(nan=torch.inf, posinf=torch.inf)
        worst = max(worst, float(error))
    return worst


def _weight_gradient(tensors: list[Tensor], groups: int, transposed: bool) -> Tensor:
    # The operator that autograd would call, called directly: neither no_grad nor autocast nor anomaly detection, in any
    # of which the first call of a process may come, concerns it.
    gradient, canvas, weight = (tensor.detach() for tensor in tensors)
    twos = [2] * (weight.ndim - 2)
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, canvas, weight, None, [1] * len(twos), twos, twos, transposed, [0] * len(twos), groups,
        [False, True, False],
    )[1]  # fmt: skip
    return found
