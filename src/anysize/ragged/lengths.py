"""``batch.shape[2]`` is not the canvas height: it is one integer per image, and arithmetic on it is per image."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.errors import MixedSizesError
from anysize.ragged.registry import calling_module

__all__ = ["Length", "lengths_of_sizes", "product", "same_lengths"]

# Of a number that is not negative: they keep the order of what they are applied to.
_GROWING = (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv)


class Length:
    """One integer per image of a ragged batch: the length of one axis.

    Arithmetic is per image. A comparison or a conversion to ``int`` answers where all images agree, and raises
    `MixedSizesError` where they do not: no canvas number can leak into a model's own arithmetic.

    A compiled graph serves batches of many sizes, so while ``torch.compile`` traces, a length that came in from outside
    is a tensor and answers no question; one that the graph itself made (the 1 behind a global pool) still does.

    >>> Length((5, 8)) // 2
    Length(2, 4)
    >>> int(Length((6, 6)) + 1)
    7
    """

    __slots__ = ("_limit", "_tensor", "_values")

    def __init__(
        self,
        values: tuple[int | float, ...] | None,
        tensor: Tensor | None = None,
        limit: int | float | None = None,
    ) -> None:
        self._values = values
        self._tensor = tensor
        self._limit = limit

    @property
    def known(self) -> tuple[int | float, ...] | None:
        """The numbers, or None where only the running graph will know them."""
        if self._tensor is None or (self._values is not None and not torch.compiler.is_compiling()):
            return self._values
        if torch.compiler.is_compiling():
            return None
        self._values = tuple(self._tensor.tolist())  # a compiled graph returned it
        return self._values

    @property
    def values(self) -> tuple[Any, ...]:
        """The numbers.

        Raises:
            MixedSizesError: while compiling, for a length that differs from batch to batch.
        """
        known = self.known
        if known is None:
            raise MixedSizesError(
                "a number was asked of a length while torch.compile traces the model: one graph serves many sizes",
                hint="keep this part of the model out of the compiled region, or run it uncompiled",
            )
        return known

    def tensor(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """The numbers as a tensor (N,) of ``dtype``; by default int64, or floating point where they are no integers."""
        if self._tensor is not None:
            return self._tensor.to(device, dtype)
        return torch.tensor(self._values, device=device, dtype=dtype)

    @property
    def limit(self) -> int | None:
        """What no value exceeds, known while compiling too: the extent of a canvas that holds it; None where it isn't.

        Arithmetic that keeps the order of values carries it along.
        """
        known = self.known
        if known is not None:
            return math.floor(max(known))
        return None if self._limit is None else math.floor(self._limit)

    def with_limit(self, limit: int) -> "Length":
        """The same length, of which it is known that no value exceeds ``limit``."""
        # A graph that looked at the values would be compiled anew for others.
        known = self._values if self._tensor is None or not torch.compiler.is_compiling() else None
        return Length(known, self._tensor, limit)

    def with_tensor(self, tensor: Tensor | None) -> "Length":
        """The same length, which a compiled graph will read from ``tensor`` (N,)."""
        return Length(self._values, tensor, self._limit)

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Length":
        """The same length with its tensor, if there is one, put elsewhere by ``move``."""
        return self if self._tensor is None else Length(self._values, move(self._tensor), self._limit)

    @property
    def num_images(self) -> int:
        """N."""
        if self._tensor is not None:
            return self._tensor.shape[0]
        return len(self.values)

    @property
    def is_one(self) -> bool:
        """Whether it is known to be 1 for every image."""
        known = self.known
        return known is not None and known.count(1) == len(known)

    def agreed(self, purpose: str = "a single number") -> int | float:
        """The value that all images share.

        Raises:
            MixedSizesError: the images differ.
        """
        values = self.values
        first: int | float = values[0]
        if all(value == first for value in values):
            return first
        raise MixedSizesError(
            f"{purpose} was asked{_where()} of a length that differs between the images of the batch: "
            f"{self._listing()}",
            hint="batch images of one size together, or compute from the batch without converting to int",
        )

    def _listing(self) -> str:
        known = self.known
        if known is None:
            return "known when the graph runs"
        shown = ", ".join(str(value) for value in known[:8])
        return shown + (f", ... ({len(known)} images)" if len(known) > 8 else "")

    def map(self, function: Callable[[Any], Any], *, growing: bool = False) -> "Length":
        """Apply ``function`` to each number (while compiling: to the tensor of them all).

        Args:
            function: of a number or a tensor.
            growing: a larger number never gives a smaller result, so the limit goes the same way.
        """
        known = self.known
        if known is not None:
            return Length(tuple(function(value) for value in known))
        return Length(None, function(self._tensor), function(self._limit) if growing and self._limit else None)

    def _combine(self, other: object, function: Callable[[Any, Any], Any]) -> "Length":
        if isinstance(other, int | float):
            return self.map(lambda value: function(value, other), growing=other >= 0 and function in _GROWING)
        if isinstance(other, Length):
            mine, others = self.known, other.known
            if mine is not None and others is not None:
                return Length(tuple(function(a, b) for a, b in zip(mine, others, strict=True)))
            device = _device(self, other)
            return Length(None, function(self.tensor(device), other.tensor(device)))
        if isinstance(other, Tensor):
            combined: Length = self._beside(other, function)  # a tensor: as a tensor among lengths would be typed
            return combined
        return NotImplemented  # type: ignore[no-any-return]

    def _beside(self, other: Tensor, function: Callable[[Any, Any], Any]) -> Any:
        """Combine with a plain tensor: as one number, which all images must share.

        Whether the first axis of a plain tensor is the images' cannot be known: a weight may have as many channels as
        the batch has images.
        """
        known = self.known
        if known is not None and known.count(known[0]) == len(known):
            return function(known[0], other)
        raise MixedSizesError(
            f"a length that differs between the images ({self._listing()}) met a plain tensor of shape "
            f"{tuple(other.shape)}{_where()}; whether its first axis is the images' cannot be known",
            hint="keep the axes of space, so that the tensor stays a batch: x.sum((2, 3), keepdim=True) / x.shape[2]",
        )

    def __add__(self, other: object) -> "Length":
        return self._combine(other, operator.add)

    __radd__ = __add__

    def __sub__(self, other: object) -> "Length":
        return self._combine(other, operator.sub)

    def __rsub__(self, other: object) -> "Length":
        return self._combine(other, lambda a, b: b - a)

    def __mul__(self, other: object) -> "Length":
        return self._combine(other, operator.mul)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> "Length":
        return self._combine(other, operator.truediv)

    def __rtruediv__(self, other: object) -> "Length":
        return self._combine(other, lambda a, b: b / a)

    def __floordiv__(self, other: object) -> "Length":
        return self._combine(other, operator.floordiv)

    def __rfloordiv__(self, other: object) -> "Length":
        return self._combine(other, lambda a, b: b // a)

    def __rmod__(self, other: object) -> "Length":
        return self._combine(other, lambda a, b: b % a)

    def __pow__(self, other: object) -> "Length":
        return self._combine(other, operator.pow)

    def __divmod__(self, other: object) -> tuple["Length", "Length"]:
        return self // other, self % other

    def __abs__(self) -> "Length":
        return self.map(abs)

    def __mod__(self, other: object) -> "Length":
        return self._combine(other, operator.mod)

    def __neg__(self) -> "Length":
        return self.map(operator.neg)

    def __floor__(self) -> "Length":
        return self.map(
            lambda value: value.floor().long() if isinstance(value, Tensor) else math.floor(value), growing=True
        )

    def __ceil__(self) -> "Length":
        return self.map(
            lambda value: value.ceil().long() if isinstance(value, Tensor) else math.ceil(value), growing=True
        )

    def __round__(self, ndigits: int | None = None) -> "Length":
        return self.map(
            lambda value: value.round().long() if isinstance(value, Tensor) else round(value, ndigits), growing=True
        )

    def __index__(self) -> int:
        return operator.index(self.agreed("an index"))  # type: ignore[arg-type]

    def __int__(self) -> int:
        return int(self.agreed())

    def __float__(self) -> float:
        return float(self.agreed())

    def __bool__(self) -> bool:
        return bool(self.agreed("a truth value"))

    def _compare(self, other: object, function: Callable[[Any, Any], bool], symbol: str) -> bool:
        compared = self._combine(other, function)
        if compared is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        return bool(compared.agreed(f"the answer to '{symbol}'"))

    def __eq__(self, other: object) -> bool:
        return self._compare(other, operator.eq, "==")

    def __ne__(self, other: object) -> bool:
        return self._compare(other, operator.ne, "!=")

    def __lt__(self, other: object) -> bool:
        return self._compare(other, operator.lt, "<")

    def __le__(self, other: object) -> bool:
        return self._compare(other, operator.le, "<=")

    def __gt__(self, other: object) -> bool:
        return self._compare(other, operator.gt, ">")

    def __ge__(self, other: object) -> bool:
        return self._compare(other, operator.ge, ">=")

    __hash__ = None  # type: ignore[assignment]  # equality may refuse, so a length is no dictionary key

    def __reduce__(self) -> tuple[Any, ...]:
        return Length, (self.values,)

    def __repr__(self) -> str:
        return f"Length({self._listing()})"


def _where() -> str:
    path = calling_module()
    return f" in {path}" if path else ""


def _device(*lengths: Length) -> torch.device:
    return next(length._tensor.device for length in lengths if length._tensor is not None)


def product(lengths: Sequence[Length]) -> Length:
    """Multiply one length or more, image by image; ``math.prod`` cannot be traced."""
    result = lengths[0]
    for length in lengths[1:]:
        result = result * length
    return result


def lengths_of_sizes(sizes: Sequence[Sequence[int]]) -> tuple[Length, ...]:
    """Turn N sizes of k axes into k lengths of N images."""
    return tuple(Length(tuple(column)) for column in zip(*sizes, strict=True))


def same_lengths(mine: Sequence[Length], others: Sequence[Length]) -> bool:
    """Whether two batches have the same sizes, axis by axis.

    While compiling nobody knows: the graph then checks it when it runs, and stops there if it is not so.
    """
    for mine_axis, other_axis in zip(mine, others, strict=True):
        if mine_axis is other_axis or (mine_axis._tensor is not None and mine_axis._tensor is other_axis._tensor):
            continue
        a, b = mine_axis.known, other_axis.known
        if a is not None and b is not None:
            if a != b:
                return False
            continue
        device = _device(mine_axis, other_axis)
        agree = (mine_axis.tensor(device) == other_axis.tensor(device)).all()
        torch._assert_async(agree, "two ragged batches whose images differ in size met in a compiled model")
    return True
