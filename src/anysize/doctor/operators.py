"""The operators of the self-test, as functions of one input and its weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.kernels import convolve, convolve_transposed

__all__ = ["OPERATORS", "Operator"]

Compute = Callable[..., Tensor]
CHANNELS, HEIGHT = 16, 12


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator, as the self-test runs it.

    ``compute(input, *weights)`` returns the result, for an input of shape (2, 16, 12, width) unless ``axes`` differs.
    """

    name: str
    family: str
    """The line of the short table that it is counted in."""
    compute: Compute
    detour: Compute | None = None
    """The same through anysize, where anysize does not call the operator as it is."""
    weights: tuple[tuple[int, ...], ...] = ()
    """Shapes of the weights."""
    axes: int = 2
    """Spatial axes of the input: 1 (width), 2 (height x width) or 3 (3 deep)."""
    num_terms: int | None = 1
    """Numbers that are summed for one element of the result, or of the input's gradient, where that is not given by the
    shape of a weight; None: all positions of a channel."""
    roundings: int = 4
    """How often a value is rounded to the dtype on its way, as units of the largest one."""
    weight_sums_in_dtype: bool = False
    """torch's own kernel sums the gradient of the weight in the dtype itself, one term after the other: imprecise on
    large images, in bfloat16 above all, but not garbage."""
    distinct: bool = False
    """No two equal numbers in any window: a maximum may not be at two places."""

    def input_shape(self, width: int) -> tuple[int, ...]:
        """Return the shape of the input for images of this width in pixels."""
        spatial = {1: (width,), 2: (HEIGHT, width), 3: (3, 6, width)}[self.axes]
        return (2, CHANNELS, *spatial)

    def terms(self, shape: tuple[int, ...], *, of_weight: bool) -> int:
        """Return how many numbers are summed, at most, for one element of what is compared."""
        positions = math.prod(shape) // CHANNELS
        if of_weight or self.num_terms is None:
            return positions
        matrices = [math.prod(weight) // min(weight[:2]) for weight in self.weights if len(weight) > 1]
        return max(self.num_terms, *matrices, 1)


def _convolution(name: str, kernel: int = 3, axes: int = 2, groups: int = 1, **settings: Any) -> Operator:
    function = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[axes]
    stride, dilation = settings.get("stride", 1), settings.get("dilation", 1)
    padding = dilation * (kernel // 2)

    def compute(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(input, weight, bias, stride, padding, dilation, groups)

    def detour(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve(function, input, weight, bias, stride, padding, dilation, groups)

    return Operator(
        name=name,
        family="convolution",
        compute=compute,
        detour=detour if groups > 1 and dilation > 1 else None,
        weights=((CHANNELS, CHANNELS // groups, *(kernel,) * axes), (CHANNELS,)),
        axes=axes,
    )


def _transposed(name: str, stride: int = 1, dilation: int = 1, groups: int = 1) -> Operator:
    function = functional.conv_transpose2d

    def compute(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(input, weight, bias, stride, dilation, 0, groups, dilation)

    def detour(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve_transposed(function, input, weight, bias, stride, dilation, 0, groups, dilation)

    return Operator(
        name=name,
        family="transposed convolution",
        compute=compute,
        detour=detour if groups > 1 and dilation > 1 else None,
        weights=((CHANNELS, CHANNELS // groups, 3, 3), (CHANNELS,)),
    )


def _batch_norm(input: Tensor, weight: Tensor, bias: Tensor, *, training: bool) -> Tensor:
    # Multiples of 1/16: the same numbers in every dtype.
    steps = torch.arange(CHANNELS, dtype=input.dtype, device=input.device)
    mean, variance = (steps - CHANNELS // 2) / 16, (steps + CHANNELS // 2) / 16
    return functional.batch_norm(input, mean, variance, weight, bias, training)


def _group_norm(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.group_norm(input, 4, weight, bias)


def _layer_norm(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(input.permute(0, 2, 3, 1), (CHANNELS,), weight, bias)


def _linear(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(input.permute(0, 2, 3, 1), weight, bias)


def _matmul(input: Tensor, weight: Tensor) -> Tensor:
    return weight @ input.flatten(2)


def _normalization(name: str, compute: Compute, weight_sums_in_dtype: bool = False) -> Operator:
    return Operator(
        name=name,
        family="normalisation",
        compute=compute,
        weights=((CHANNELS,), (CHANNELS,)),
        num_terms=None,
        roundings=8,
        weight_sums_in_dtype=weight_sums_in_dtype,
    )


def _pool(name: str, compute: Compute, num_terms: int | None = 9, distinct: bool = False) -> Operator:
    return Operator(name=name, family="pooling", compute=compute, num_terms=num_terms, distinct=distinct)


def _resize(name: str, mode: str, **settings: Any) -> Operator:
    compute = partial(functional.interpolate, scale_factor=2, mode=mode, **settings)
    return Operator(name=name, family="interpolation", compute=compute, num_terms=16)


def _activation(name: str, compute: Compute) -> Operator:
    return Operator(name=name, family="activation", compute=compute)


_BOTH = ((CHANNELS, CHANNELS), (CHANNELS,))

OPERATORS: tuple[Operator, ...] = (
    _convolution("convolution"),
    _convolution("strided convolution", stride=2),
    _convolution("dilated convolution", dilation=2),
    _convolution("grouped convolution", groups=4),
    _convolution("depthwise convolution", groups=CHANNELS),
    _convolution("grouped dilated convolution", groups=4, dilation=2),
    _convolution("depthwise dilated convolution", groups=CHANNELS, dilation=2),
    _convolution("convolution 1x1", kernel=1),
    _convolution("convolution 1d", axes=1),
    _convolution("depthwise dilated convolution 1d", axes=1, groups=CHANNELS, dilation=2),
    _convolution("convolution 3d", axes=3),
    _convolution("depthwise dilated convolution 3d", axes=3, groups=CHANNELS, dilation=2),
    _transposed("transposed convolution"),
    _transposed("strided transposed convolution", stride=2),
    _transposed("depthwise dilated transposed convolution", groups=CHANNELS, dilation=2),
    _normalization("batch norm, training", partial(_batch_norm, training=True)),
    _normalization("batch norm, evaluation", partial(_batch_norm, training=False)),
    _normalization("group norm", _group_norm),
    _normalization("layer norm", _layer_norm, weight_sums_in_dtype=True),
    _pool("max pool", partial(functional.max_pool2d, kernel_size=3, stride=2, padding=1), distinct=True),
    _pool("average pool", partial(functional.avg_pool2d, kernel_size=3, stride=2, padding=1)),
    _pool("adaptive average pool", partial(functional.adaptive_avg_pool2d, output_size=3), num_terms=None),
    _resize("interpolation, bilinear", "bilinear", align_corners=False),
    _resize("interpolation, nearest", "nearest"),
    Operator(name="linear", family="matrix product", compute=_linear, weights=_BOTH),
    Operator(name="matrix product", family="matrix product", compute=_matmul, weights=_BOTH[:1]),
    Operator(
        name="softmax", family="reduction", compute=partial(torch.softmax, dim=1), num_terms=CHANNELS, roundings=8
    ),
    Operator(name="mean", family="reduction", compute=partial(torch.mean, dim=(2, 3)), num_terms=None),
    _activation("relu", functional.relu),
    _activation("gelu", functional.gelu),
    _activation("silu", functional.silu),
)
