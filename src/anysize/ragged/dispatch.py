"""From a call of a torch function to its rule, or to the refusal."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from anysize.errors import MixedSizesError, UnsupportedOperatorError
from anysize.ragged.canvas import CanvasTensor
from anysize.ragged.lengths import Length
from anysize.ragged.padded import Padding
from anysize.ragged.registry import Rule, lookup_rule, refusal

__all__ = ["check_layouts", "dispatch", "missing_rule", "ragged_among", "substitute"]


def ragged_among(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the ragged batches among the arguments of a call, those within lists and tuples included."""
    for value in values:
        if isinstance(value, CanvasTensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from ragged_among(value)


def substitute(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return an argument with ``change`` applied to what it holds, lists, tuples and slices kept."""
    if isinstance(value, list | tuple):
        items = [substitute(item, change) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, slice):
        return slice(change(value.start), change(value.stop), change(value.step))
    return change(value)


def missing_rule(function: Callable[..., Any]) -> UnsupportedOperatorError:
    """Make the refusal of a function that has no rule."""
    return refusal(function, "no rule says how it works on images of mixed sizes")


def dispatch(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Work ``function`` by its rule.

    Images that agree in size are an ordinary batch: what no rule can do is then done by the function itself.

    Raises:
        UnsupportedOperatorError: no rule, or none for these arguments, and the images differ in size.
        MixedSizesError: one number was asked for, and the images differ.
    """
    rule = lookup_rule(function)
    if torch.compiler.is_compiling():
        return _by_rule(rule, function, args, kwargs)
    try:
        return _by_rule(rule, function, args, kwargs)
    except (UnsupportedOperatorError, MixedSizesError):
        handled, result = _as_plain(function, args, kwargs)
        if handled:
            return result
        raise


def _by_rule(rule: Rule | None, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if rule is None:
        raise missing_rule(function)
    if not rule.any_layout:
        check_layouts(function, args, kwargs)
    return rule.work(function, *args, **kwargs)


def check_layouts(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse batches whose axes are not (N, C, *spatial)."""
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, CanvasTensor):
            _check_layout(function, value)
        elif isinstance(value, list | tuple):
            for batch in ragged_among(value):
                _check_layout(function, batch)


def _check_layout(function: Callable[..., Any], batch: Any) -> None:
    if not batch.is_canonical:
        raise refusal(
            function,
            f"it works on (N, C, *spatial), and the axes of this batch were rearranged to {_spelled(batch)}",
        )


def _spelled(batch: Any) -> str:
    """Write a layout: plain axes as their lengths, spatial ones as L, H x W or D x H x W."""
    names = {1: "L", 2: "HW", 3: "DHW"}[batch.spatial_axes]
    axes = [
        "*".join(names[axis] for axis in axes) or str(length)
        for axes, length in zip(batch.layout, batch.canvas.shape, strict=True)
    ]
    return f"({', '.join(['N', *axes[1:]])})"


def _as_plain(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """Call ``function`` on ordinary tensors if every batch among its arguments holds images of one size."""
    plain: dict[int, tuple[Any, Any, Any]] = {}
    for batch in ragged_among((*args, *kwargs.values())):
        # A function may work in place: never on a caller's own canvas.
        if batch.plain() is None:
            return False, None
        owned = batch.with_canvas(batch.settled(), max(batch.padding, Padding.FINITE))
        plain[id(batch)] = (batch, owned, owned.plain())

    def change(value: Any) -> Any:
        if isinstance(value, CanvasTensor):
            return plain[id(value)][2]
        return int(value) if isinstance(value, Length) else value

    result = function(*substitute(args, change), **{name: substitute(v, change) for name, v in kwargs.items()})
    # In place: the batch that was passed is the result, as with tensors. It refuses if its memory is not its own.
    for batch, owned, tensor in plain.values():
        if tensor is result:
            batch.replace_canvas(owned.canvas, owned.padding)
            return True, batch
    return True, result
