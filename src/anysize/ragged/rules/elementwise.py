"""Elementwise functions: the canvas is worked as it is; what changes is what is known of the padding."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.operands import align
from anysize.ragged.registry import refusal, register_rule, spellings

__all__: list[str] = []

# Functions of one image with f(0) = 0: zeros in the padding stay zeros. All are finite for finite input, and so are
# their derivatives: a zero gradient in the padding stays zero.
_ZERO_AT_ZERO = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "tanh", "softsign",
    "abs", "neg", "dropout", "dropout1d", "dropout2d", "dropout3d", "clone", "contiguous", "detach",
)  # fmt: skip
# hardtanh is among them for its bounds: they need not enclose zero.
_FINITE = ["sigmoid", "hardsigmoid", "softplus", "logsigmoid", "hardtanh"]


def _unary(
    function: Callable[..., Any], input: RaggedBatch, args: tuple[Any, ...], kwargs: dict[str, Any], keeps_zero: bool
) -> RaggedBatch:
    canvas = input.settled()
    known = Padding.FINITE if input.padding is Padding.UNKNOWN else input.padding
    result = function(canvas, *args, **kwargs)
    padding = known if keeps_zero else Padding.FINITE
    if result is canvas:  # in place: the batch that was passed is the result, as with tensors
        input.replace_canvas(result, padding)
        return input
    return input.with_canvas(result, padding)


@register_rule(*(function for name in _ZERO_AT_ZERO for function in spellings(name)), any_layout=True)
def zero_at_zero(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a function with f(0) = 0 on every pixel: (N, C, *spatial) -> the same."""
    return _unary(function, input, args, kwargs, keeps_zero=True)


@register_rule(*(function for name in _FINITE for function in spellings(name)), any_layout=True)
def finite(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a bounded or linear-growth function on every pixel: (N, C, *spatial) -> the same."""
    return _unary(function, input, args, kwargs, keeps_zero=False)


_SUMS = ("__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__")
_PRODUCTS = ("__mul__", "__rmul__", "__imul__")


def _methods(names: tuple[str, ...]) -> list[Callable[..., Any]]:
    return [getattr(Tensor, name) for name in names]


Known = Callable[[Padding, Padding], Padding]


@register_rule(*spellings("add"), *spellings("sub"), *_methods(_SUMS), per_image_operands=True, any_layout=True)
def add(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> RaggedBatch:
    """Add or subtract batches of the same sizes, numbers, or tensors with one value for all of space."""
    return _binary(function, input, other, kwargs, lambda left, right: min(left, right))


@register_rule(*spellings("mul"), *_methods(_PRODUCTS), per_image_operands=True, any_layout=True)
def multiply(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> RaggedBatch:
    """Multiply batches of the same sizes, numbers, or tensors with one value for all of space."""
    return _binary(function, input, other, kwargs, lambda left, right: max(left, right))


@register_rule(
    *spellings("div"), Tensor.__truediv__, Tensor.__rtruediv__, Tensor.__itruediv__,
    per_image_operands=True, any_layout=True,
)  # fmt: skip
def divide(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> RaggedBatch:
    """Divide batches of the same sizes, numbers, or tensors with one value for all of space."""
    # The padding of a divisor may hold zeros, and 0/0 is NaN: there it is 1.
    reflected = function is Tensor.__rtruediv__
    if isinstance(input if reflected else other, RaggedBatch):
        if function in _IN_PLACE_DIVISIONS:
            raise refusal(function, "dividing in place by a ragged batch has no exact rule; x = x / y has")
        return _binary(function, input, other, kwargs, lambda _left, _right: Padding.FINITE, fill=1.0)
    return _binary(function, input, other, kwargs, lambda left, _: left)


_IN_PLACE_DIVISIONS = (Tensor.div_, Tensor.__itruediv__)


def _binary(
    function: Callable[..., Any], left: Any, right: Any, kwargs: dict[str, Any], padding_of: Known,
    fill: float | None = None,
) -> RaggedBatch:  # fmt: skip
    if kwargs.get("out") is not None:
        raise refusal(function, "out= has no exact rule")
    aligned = align(function, (left, right), fill)
    first, second = aligned.values
    result = function(first, second, **kwargs)
    padding = padding_of(*aligned.padding)
    if result is first and isinstance(left, RaggedBatch):  # in place
        left.replace_canvas(result, padding)
        return left
    return aligned.batch(result, padding)
