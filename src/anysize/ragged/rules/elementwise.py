"""Elementwise functions: the canvas is worked as it is; what changes is what is known of the padding."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from anysize.errors import MixedSizesError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.registry import refusal, register_rule, spellings
from anysize.sizes import format_size

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


@register_rule(*(function for name in _ZERO_AT_ZERO for function in spellings(name)))
def zero_at_zero(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a function with f(0) = 0 on every pixel: (N, C, *spatial) -> the same."""
    return _unary(function, input, args, kwargs, keeps_zero=True)


@register_rule(*(function for name in _FINITE for function in spellings(name)))
def finite(function: Callable[..., Any], input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Work a bounded or linear-growth function on every pixel: (N, C, *spatial) -> the same."""
    return _unary(function, input, args, kwargs, keeps_zero=False)


_SUMS = ("__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__")
_PRODUCTS = ("__mul__", "__rmul__", "__imul__")


def _methods(names: tuple[str, ...]) -> list[Callable[..., Any]]:
    return [getattr(Tensor, name) for name in names]


@register_rule(*spellings("add"), *spellings("sub"), *_methods(_SUMS), per_image_operands=True)
def add(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> RaggedBatch:
    """Add or subtract batches of the same sizes, numbers, or tensors with one value for all of space."""
    return _binary(function, input, other, kwargs, lambda left, right: min(left, right))


@register_rule(*spellings("mul"), *_methods(_PRODUCTS), per_image_operands=True)
def multiply(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> RaggedBatch:
    """Multiply batches of the same sizes, numbers, or tensors with one value for all of space."""
    return _binary(function, input, other, kwargs, lambda left, right: max(left, right))


@register_rule(*spellings("div"), Tensor.__truediv__, Tensor.__itruediv__, per_image_operands=True)
def divide(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> RaggedBatch:
    """Divide a batch by a number, or by a tensor with one value for all of space."""
    if isinstance(other, RaggedBatch):
        raise refusal(function, "division by a ragged batch has no exact rule: its padding may hold zeros")
    return _binary(function, input, other, kwargs, lambda left, _: left)


def _binary(
    function: Callable[..., Any],
    left: Any,
    right: Any,
    kwargs: dict[str, Any],
    padding_of: Callable[[Padding, Padding], Padding],
) -> RaggedBatch:
    batch = left if isinstance(left, RaggedBatch) else right
    if kwargs.get("out") is not None:
        raise refusal(function, "out= has no exact rule")
    operands = [_operand(function, batch, value) for value in (left, right)]
    (first, first_padding), (second, second_padding) = operands
    if isinstance(left, RaggedBatch) and isinstance(right, RaggedBatch):
        first, second = _crop_to_common(first, second)
    result = function(first, second, **kwargs)
    padding = padding_of(first_padding, second_padding)
    if result is first and isinstance(left, RaggedBatch):  # in place
        left.replace_canvas(result, padding)
        return left
    return RaggedBatch(result, batch.sizes, padding=padding)


def _operand(function: Callable[..., Any], batch: RaggedBatch, value: Any) -> tuple[Any, Padding]:
    """Return what stands for ``value`` on the canvas, and what the operand does to the padding."""
    if isinstance(value, RaggedBatch):
        if len(value) != len(batch):
            raise MixedSizesError(
                f"{function.__name__} was given ragged batches of {len(batch)} and of {len(value)} images: both must "
                "hold the same images",
                hint="a value for each image or for all goes beside a batch as a plain tensor (N, C, 1, 1)",
            )
        if value.sizes != batch.sizes:
            pairs = zip(batch.sizes, value.sizes, strict=True)
            index, (mine, other) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
            raise MixedSizesError(
                f"{function.__name__} was given two ragged batches whose image {index} is {format_size(mine)} in one "
                f"and {format_size(other)} in the other: each image must have one size in both",
                hint="resize one to the other's sizes first",
            )
        canvas = value.settled()
        return canvas, max(value.padding, Padding.FINITE)
    if isinstance(value, Length):  # one number an image
        numbers = batch.canvas.new_tensor(value.values)
        return numbers.reshape(-1, *(1,) * (batch.dim() - 1)), Padding.FINITE
    if isinstance(value, Tensor):
        spatial = value.shape[max(0, value.dim() - batch.spatial_axes) :]
        if value.dim() > batch.dim() or any(length != 1 for length in spatial if value.dim() > 0):
            raise refusal(
                function,
                f"the other operand is a plain tensor of shape {tuple(value.shape)}, which varies over space; "
                f"only tensors with length 1 in the last {batch.spatial_axes} axes apply to images of mixed sizes",
            )
    return value, Padding.FINITE


def _crop_to_common(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Crop two canvases to their common extent: they hold the same sizes, whatever paths led to them."""
    if first.shape[2:] == second.shape[2:] or first.dim() != second.dim():
        return first, second
    extent = tuple(slice(0, min(a, b)) for a, b in zip(first.shape[2:], second.shape[2:], strict=True))
    index = (slice(None), slice(None), *extent)
    return first[index], second[index]
