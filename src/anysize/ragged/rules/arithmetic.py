"""Functions of several operands, pixel by pixel: batches of the same sizes, tensors, lengths and numbers."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.pixels.pixelwise import may_overflow, owned_zeroed, refuse_in_place, work_operands, work_pixels
from anysize.ragged.registry import refusal, register_rule, spellings

__all__: list[str] = []


def _named(names: Iterable[str], operators: Iterable[str] = ()) -> set[Callable[..., Any]]:
    functions = {function for name in names for function in spellings(name)}
    return functions | {getattr(Tensor, f"__{name}__") for name in operators}


@register_rule(
    *_named(("add", "sub", "subtract", "rsub"), ("add", "radd", "iadd", "sub", "rsub", "isub")),
    per_image_operands=True, any_layout=True,
)  # fmt: skip
def add(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> Any:
    """Add or subtract batches of the same sizes, numbers, or tensors with one value for all of space."""
    return work_operands(function, (input, other), kwargs, padding_of=min)


@register_rule(
    *_named(("mul", "multiply"), ("mul", "rmul", "imul")), per_image_operands=True, any_layout=True
)  # fmt: skip
def multiply(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> Any:
    """Multiply batches of the same sizes, numbers, or tensors with one value for all of space."""
    return work_operands(function, (input, other), kwargs, padding_of=max)


# Quotients: the padding of a divisor may hold zeros, and 0/0 is NaN: there it is 1.
_DIVISIONS = _named(
    ("div", "divide", "true_divide", "floor_divide", "remainder", "fmod"),
    ("truediv", "itruediv", "floordiv", "ifloordiv", "mod", "imod"),
)
_REFLECTED_DIVISIONS = _named((), ("rtruediv", "rdiv", "rfloordiv", "rmod"))


@register_rule(*_DIVISIONS, *_REFLECTED_DIVISIONS, per_image_operands=True, any_layout=True)
def divide(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> Any:
    """Divide batches of the same sizes, numbers, or tensors with one value for all of space."""
    if isinstance(input if function in _REFLECTED_DIVISIONS else other, RaggedBatch):
        return work_operands(function, (input, other), kwargs, fill=1.0)
    return work_operands(function, (input, other), kwargs, padding_of=lambda padding: padding[0])


_FINITE = _named(
    ("maximum", "minimum", "fmax", "fmin", "eq", "ne", "not_equal", "lt", "less", "le", "less_equal", "gt", "greater",
     "ge", "greater_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor",
     "logaddexp", "logaddexp2", "copysign", "isclose"),
    ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "rand", "ror", "rxor", "iand", "ior", "ixor"),
)  # fmt: skip


@register_rule(*_FINITE, per_image_operands=True, any_layout=True)
def combine(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> Any:
    """Compare or combine two operands by a function that is finite everywhere: the same sizes, perhaps bool."""
    return work_operands(function, (input, other), kwargs)


@register_rule(*_named(("atan2", "arctan2", "hypot", "xlogy")), per_image_operands=True, any_layout=True)
def combine_away_from_zero(function: Callable[..., Any], input: Any, other: Any, **kwargs: Any) -> Any:
    """Combine two operands by a function whose derivative is not finite at zero."""
    return work_operands(function, (input, other), kwargs, fill=1.0)


_QUOTIENTS_ADDED = spellings("addcdiv")


@register_rule(*_named(("lerp", "addcmul", "addcdiv")), per_image_operands=True, any_layout=True)
def combine_three(
    function: Callable[..., Any], input: Any, second: Any = None, third: Any = None, **kwargs: Any
) -> Any:
    """Interpolate between two operands by a third, or add the product or quotient of two to one."""
    second = kwargs.pop("end", kwargs.pop("tensor1", second))
    third = kwargs.pop("weight", kwargs.pop("tensor2", third))
    fill = 1.0 if function in _QUOTIENTS_ADDED and isinstance(third, RaggedBatch) else None
    return work_operands(function, (input, second, third), kwargs, fill=fill)


@register_rule(*_named(("clamp", "clip")), per_image_operands=True, any_layout=True)
def clamp(function: Callable[..., Any], input: Any, min: Any = None, max: Any = None, **kwargs: Any) -> Any:
    """Bound each pixel by numbers, tensors with one value for all of space, or batches."""

    def call(value: Any, low: Any, high: Any) -> Any:
        return function(value, low, high)

    call.__name__ = function.__name__
    if not isinstance(input, RaggedBatch) or kwargs:
        raise refusal(function, "only its input and its bounds may be ragged, and out= has no exact rule")
    if any(isinstance(bound, Tensor | RaggedBatch | Length) for bound in (min, max)):
        if any(isinstance(bound, Length) for bound in (min, max)):  # torch has no bounds of two kinds
            min, max = (_as_tensor(bound, input) for bound in (min, max))
        if min is not None and max is not None:
            return work_operands(call, (input, min, max))
        by_name = "min" if max is None else "max"
        bound = min if max is None else max
        return work_operands(_renamed(function, by_name), (input, bound))
    return work_pixels(function, input, input.settled(), (min, max), {}, Padding.FINITE)


def _as_tensor(bound: Any, input: RaggedBatch) -> Any:
    if isinstance(bound, Length):
        return bound.tensor(input.device, input.dtype).reshape(-1, *(1,) * (input.dim() - 1))
    return torch.tensor(bound, dtype=input.dtype, device=input.device) if isinstance(bound, int | float) else bound


def _renamed(function: Callable[..., Any], bound: str) -> Callable[..., Any]:
    def call(value: Any, limit: Any) -> Any:
        return function(value, **{bound: limit})

    call.__name__ = function.__name__
    return call


@register_rule(*_named(("clamp_min", "clamp_max")), per_image_operands=True, any_layout=True)
def clamp_on_one_side(function: Callable[..., Any], input: Any, bound: Any = None, **kwargs: Any) -> Any:
    """Bound each pixel on one side."""
    return work_operands(function, (input, bound if bound is not None else next(iter(kwargs.values()))))


@register_rule(*_named(("pow", "float_power"), ("pow", "ipow")), any_layout=True, per_image_operands=True)
def power(function: Callable[..., Any], input: Any, exponent: Any) -> Any:
    """Raise batches, numbers or tensors to powers that are batches, numbers or tensors, pixel by pixel."""
    if isinstance(input, RaggedBatch) and isinstance(exponent, int | float):
        # Powers above one have a finite derivative at zero, also where they have no value for negative garbage.
        if exponent >= 1:
            return work_pixels(function, input, owned_zeroed(input), (exponent,), {}, Padding.ZERO)
        if exponent == 0:
            return work_pixels(function, input, owned_zeroed(input), (exponent,), {}, Padding.FINITE)
        refuse_in_place(function)
        return input.with_canvas(function(input.masked(1.0), exponent), Padding.FINITE)
    return work_operands(function, (input, exponent), fill=1.0)


@register_rule(Tensor.__rpow__, any_layout=True, per_image_operands=True)
def reflected_power(function: Callable[..., Any], exponent: Any, input: Any) -> Any:
    """Raise a number or tensor to powers that are a batch."""
    return work_operands(function, (exponent, input), fill=1.0)


@register_rule(torch.where, Tensor.where, per_image_operands=True, any_layout=True)
def where(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Choose between two operands: ``torch.where(condition, x, y)`` and ``x.where(condition, y)``."""
    names = ("condition", "input", "other") if function is torch.where else ("input", "condition", "other")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    input, second, third = (given.get(name, given.get("self") if name == "input" else None) for name in names)
    if second is None or third is None:
        raise refusal(function, "without values to choose from it lists positions, on the canvas")
    values = (second, third) if function is torch.where else (input, third)
    known = Padding.UNKNOWN if any(map(may_overflow, values)) else Padding.FINITE
    return work_operands(function, (input, second, third), padding_of=lambda _: known)


@register_rule(*_named(("masked_fill",)), per_image_operands=True, any_layout=True)
def masked_fill(function: Callable[..., Any], input: Any, mask: Any, value: Any) -> Any:
    """Set pixels to a number where a mask, a batch or a tensor with one value for all of space, is true."""
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "a ragged mask on a plain tensor has no exact rule")
    known = Padding.UNKNOWN if may_overflow(value) else Padding.FINITE
    return work_operands(function, (input, mask, value), padding_of=lambda _: known)
