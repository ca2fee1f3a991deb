"""What the rules of functions of single pixels share: their operands made ready, and their result made a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.pixels.operands import align
from anysize.ragged.registry import refusal, spellings, works_in_place

__all__ = [
    "check_unary", "may_overflow", "overwritten", "owned_zeroed", "refuse_in_place", "work_operands", "work_pixels",
]  # fmt: skip

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
    compiling = torch.compiler.is_compiling()  # it cannot trace how a function is called by its name
    in_place = not compiling and works_in_place(function, (canvas, *args), kwargs)
    if in_place:
        input.require_own_memory()
    result = function(canvas, *args, **kwargs)
    in_place = in_place or (compiling and result is canvas and function is not Tensor.contiguous)
    if in_place:  # the batch that was passed is the result, as with tensors
        input.replace_canvas(result, padding)
        return input
    if result is canvas and (function is not Tensor.contiguous or input.is_contiguous()):
        return input  # dropout in evaluation, say: what it was given
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
    left = operands[0]
    compiling = torch.compiler.is_compiling()
    in_place = (
        isinstance(left, RaggedBatch) and not compiling and works_in_place(function, tuple(aligned.values), kwargs)
    )
    if in_place:  # refused before anything is written
        left.require_own_memory()
        if left.extents != aligned.extents and not left.is_canonical:
            raise refusal(function, "its operands lie on canvases of different extents; x = x + y instead of x += y")
    result = function(*aligned.values, **kwargs)
    if not isinstance(result, Tensor):  # NotImplemented, for an operand of another kind
        return result
    padding = padding_of(aligned.padding)
    if in_place or (compiling and result is aligned.values[0] and isinstance(left, RaggedBatch)):
        return overwritten(left, result, padding)
    return aligned.batch(result, padding)


def overwritten(batch: RaggedBatch, canvas: Tensor, padding: Padding) -> RaggedBatch:
    """Return a batch that an operator worked on in place, which may have left what is not finite in the padding.

    It is cleared in the same memory: a later copy would leave behind the batches that are views of it.
    """
    if padding > Padding.UNKNOWN or torch.compiler.is_compiling():
        batch.replace_canvas(canvas, padding)
        return batch
    batch.replace_canvas(canvas, Padding.FINITE)
    return batch.with_zeros()


def may_overflow(value: Any) -> bool:
    """Whether a plain operand may bring infinity into the padding: a number that is not finite, or a tensor."""
    if isinstance(value, Tensor):
        return value.is_floating_point()
    return isinstance(value, float) and not torch.isfinite(torch.tensor(value)).item()
