"""Functions of single pixels: the canvas is worked as it is; what changes is what is known of the padding."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.pixels.pixelwise import check_unary, owned_zeroed, refuse_in_place, work_pixels
from anysize.ragged.registry import refusal, register_rule, spellings
from anysize.ragged.shapes.axes import shared_canvas, view_padding

__all__: list[str] = []

# Functions with f(0) = 0: zeros in the padding stay zeros. All are finite for finite input, and so are their
# derivatives: a zero gradient in the padding stays zero.
_ZERO_AT_ZERO = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "tanh", "softsign",
    "abs", "absolute", "neg", "negative", "positive", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_dropout", "rrelu", "tanhshrink", "softshrink", "hardshrink", "clone", "contiguous", "detach", "sin",
    "atan", "arctan", "asinh", "arcsinh", "erf", "sign", "sgn", "floor", "ceil", "round", "trunc", "fix", "frac",
    "deg2rad", "rad2deg", "nan_to_num", "isnan", "isinf", "int", "long", "short", "bool",
)  # fmt: skip
# hardtanh is among them for its bounds: they need not enclose zero.
_FINITE = (
    "sigmoid", "expit", "hardsigmoid", "softplus", "logsigmoid", "log_sigmoid", "hardtanh", "threshold", "cos",
    "erfc", "alpha_dropout", "feature_alpha_dropout", "isfinite", "logical_not", "bitwise_not", "sinc", "signbit",
)  # fmt: skip
# Functions that are finite, and whose derivatives are, at zero but not for all that padding may hold: it is cleared
# first. Of the first kind f(0) = 0.
_CLEARED_TO_ZERO = (
    "expm1", "log1p", "square", "sinh", "tan", "asin", "arcsin", "atanh", "arctanh", "erfinv",
)  # fmt: skip
_CLEARED = ("exp", "exp2", "cosh", "acos", "arccos")
# The same with another point than zero.
_FILLED = {
    "log": 1.0, "log2": 1.0, "log10": 1.0, "sqrt": 1.0, "rsqrt": 1.0, "reciprocal": 1.0, "lgamma": 1.0,
    "digamma": 1.0, "acosh": 2.0, "arccosh": 2.0, "logit": 0.5,
}  # fmt: skip


def _functions(names: Iterable[str], *others: Callable[..., Any]) -> set[Callable[..., Any]]:
    return {function for name in names for function in spellings(name)} | set(others)


_FILLS = {function: fill for name, fill in _FILLED.items() for function in spellings(name)}


# Their results share memory with their input, whatever is known of it.
_ALIASES = (torch.detach, Tensor.detach, Tensor.contiguous)


@register_rule(*_functions(_ZERO_AT_ZERO, Tensor.__neg__, Tensor.__abs__, Tensor.__pos__), any_layout=True)
def zero_at_zero(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a function with f(0) = 0 on every pixel: (N, C, *spatial) -> the same."""
    check_unary(function, input, kwargs)
    if function in _ALIASES and (function is not Tensor.contiguous or input.padding > Padding.BORROWED):
        return input.with_canvas(function(shared_canvas(input), *args, **kwargs), view_padding(input))
    return work_pixels(function, input, input.settled(), args, kwargs, max(input.padding, Padding.FINITE))


@register_rule(*_functions(_FINITE, Tensor.__invert__), any_layout=True)
def finite(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a bounded or linear-growth function on every pixel: (N, C, *spatial) -> the same."""
    check_unary(function, input, kwargs)
    return work_pixels(function, input, input.settled(), args, kwargs, Padding.FINITE)


@register_rule(*_functions(_CLEARED_TO_ZERO), any_layout=True)
def finite_at_zero(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a function that need not be finite, but with f(0) = 0, on every pixel: (N, C, *spatial) -> the same."""
    check_unary(function, input, kwargs)
    return work_pixels(function, input, owned_zeroed(input), args, kwargs, Padding.ZERO)


@register_rule(*_functions(_CLEARED), any_layout=True)
def finite_near_zero(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a function that need not be finite, but is at zero, on every pixel: (N, C, *spatial) -> the same."""
    check_unary(function, input, kwargs)
    return work_pixels(function, input, owned_zeroed(input), args, kwargs, Padding.FINITE)


@register_rule(*_FILLS, any_layout=True)
def filled(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a function that is not finite at zero (a logarithm) on every pixel: (N, C, *spatial) -> the same."""
    check_unary(function, input, kwargs)
    refuse_in_place(function)
    return input.with_canvas(function(input.masked(_FILLS[function]), *args, **kwargs), Padding.FINITE)


@register_rule(functional.prelu, torch.prelu, Tensor.prelu)
def prelu(function: Callable[..., Any], input: Any, weight: Tensor) -> RaggedBatch:
    """Work the parametric ReLU: (N, C, *spatial) -> the same, with one weight or C of them."""
    check_unary(function, input, {})
    return work_pixels(function, input, input.settled(), (weight,), {}, max(input.padding, Padding.FINITE))


@register_rule(*spellings("glu"), any_layout=True)
def glu(function: Callable[..., Any], input: RaggedBatch, dim: int = -1) -> RaggedBatch:
    """Gate one half of a plain axis by the other: (N, 2 C, *spatial) -> (N, C, *spatial)."""
    if input.layout[dim] or dim % input.dim() == 0:
        raise refusal(function, f"axis {dim} runs over images or space; only plain axes can be halved")
    return input.with_canvas(function(input.settled(), dim), max(input.padding, Padding.FINITE)).kept_finite()
