"""What the rules of functions of single pixels share: their operands made ready, and their result made a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.operands import align
from anysize.ragged.registry import refusal, spellings

__all__ = ["check_unary", "may_overflow", "owned_zeroed", "refuse_in_place", "work_operands", "work_pixels"]

Known = Callable[[Sequence[Padding]], Padding]


def check_unary(function: Callable[..., Any], input: Any, kwargs: dict[str, Any]) -> None:
    """Refuse a call whose input is not the ragged one, and ``out=``."""
    _refuse_out(function, kwargs)
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")


def _refuse_out(function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    if kwargs.get("out") is not None:
        raise refusal(function, "out= has no exact rule")


# In-place forms of functions whose padding is filled first. A tuple: torch.compile asks it without hashing functions.
_IN_PLACE = (
    *(
        function
        for name in (
            "log", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "lgamma", "digamma", "acosh", "arccosh", "logit",
            "div", "divide", "true_divide", "floor_divide", "remainder", "fmod", "pow", "float_power", "addcdiv",
            "atan2", "arctan2", "hypot", "xlogy",
        )
        for function in spellings(f"{name}_")
    ),
    Tensor.__itruediv__, Tensor.__ifloordiv__, Tensor.__imod__, Tensor.__ipow__,
)  # fmt: skip


def refuse_in_place(function: Callable[..., Any]) -> None:
    """Refuse an in-place form of a function whose padding must be filled first: that makes a copy."""
    if function in _IN_PLACE:
        raise refusal(function, "in place it has no exact rule: the padding must be filled first, in a copy")


def owned_zeroed(input: RaggedBatch) -> Tensor:
    """Return the canvas with zeros for padding; an operator may work on it in place."""
    return input.settled() if input.padding <= Padding.UNKNOWN else input.zeroed()


def work_pixels(
    function: Callable[..., Any], input: RaggedBatch, canvas: Tensor, args: Sequence[Any], kwargs: dict[str, Any],
    padding: Padding,
) -> RaggedBatch:  # fmt: skip
    """Apply a function of one batch to ``canvas``, its own or a filled copy; in place where the function is."""
    result = function(canvas, *args, **kwargs)
    # In place: the batch that was passed is the result, as with tensors.
    if result is canvas and function is not Tensor.contiguous:
        input.replace_canvas(result, padding)
        return input
    return input.with_canvas(result, padding)


def work_operands(
    function: Callable[..., Any],
    operands: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
    fill: float | None = None,
    padding_of: Known = lambda _: Padding.FINITE,
) -> Any:
    """Apply a function of several operands, some of them batches, pixel by pixel.

    Args:
        function: takes the operands in their order; the first is changed where it works in place.
        operands: batches, tensors with one value for all of space, lengths, numbers.
        kwargs: passed on as they are.
        fill: a value for the padding of the batches, in a copy; by default it is only made finite.
        padding_of: what is known of the result's padding, from what is known of each operand's.
    """
    kwargs = kwargs or {}
    _refuse_out(function, kwargs)
    if fill is not None:
        refuse_in_place(function)
    aligned = align(function, operands, fill)
    first, left = aligned.values[0], operands[0]
    result = function(*aligned.values, **kwargs)
    if not isinstance(result, Tensor):  # NotImplemented, for an operand of another kind
        return result
    padding = padding_of(aligned.padding)
    if result is first and isinstance(left, RaggedBatch):  # in place
        if left.extents != aligned.extents and not left.is_canonical:
            raise refusal(function, "its operands lie on canvases of different extents; x = x + y instead of x += y")
        left.replace_canvas(result, padding)
        return left
    return aligned.batch(result, padding)


def may_overflow(value: Any) -> bool:
    """Whether a plain operand may bring infinity into the padding: a number that is not finite, or a tensor."""
    if isinstance(value, Tensor):
        return value.is_floating_point()
    return isinstance(value, float) and not torch.isfinite(torch.tensor(value)).item()
