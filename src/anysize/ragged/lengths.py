"""``batch.shape[2]`` is not the canvas height: it is one integer per image, and arithmetic on it is per image."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anysize.errors import MixedSizesError

__all__ = ["Length"]


class Length:
    """One integer per image of a ragged batch: the length of one axis.

    Arithmetic is per image. A comparison or a conversion to ``int`` answers where all images agree, and raises
    `MixedSizesError` where they do not: no canvas number can leak into a model's own arithmetic.

    >>> Length((5, 8)) // 2
    Length(2, 4)
    >>> int(Length((6, 6)) + 1)
    7
    """

    __slots__ = ("values",)

    def __init__(self, values: tuple[int | float, ...]) -> None:
        self.values = values

    def agreed(self, purpose: str = "a single number") -> int | float:
        """The value that all images share.

        Raises:
            MixedSizesError: the images differ.
        """
        first = self.values[0]
        if all(value == first for value in self.values):
            return first
        raise MixedSizesError(
            f"{purpose} was asked of a length that differs between the images of the batch: {self._listing()}",
            hint="batch images of one size together, or compute from the batch without converting to int",
        )

    def _listing(self) -> str:
        shown = ", ".join(str(value) for value in self.values[:8])
        return shown + (f", ... ({len(self.values)} images)" if len(self.values) > 8 else "")

    def _combine(self, other: object, function: Callable[[Any, Any], Any]) -> "Length":
        if isinstance(other, Length):
            pairs = zip(self.values, other.values, strict=True)
            return Length(tuple(function(a, b) for a, b in pairs))
        if isinstance(other, Tensor):
            combined: Length = self._beside(other, function)  # a tensor: as a tensor among lengths would be typed
            return combined
        if isinstance(other, int | float):
            return Length(tuple(function(value, other) for value in self.values))
        return NotImplemented  # type: ignore[no-any-return]

    def _beside(self, other: Tensor, function: Callable[[Any, Any], Any]) -> Any:
        """Combine with a plain tensor (N, ...) of one entry an image, image by image."""
        if other.dim() == 0 or other.shape[0] != len(self.values):
            raise MixedSizesError(
                f"a length of {len(self.values)} images met a tensor of shape {tuple(other.shape)}, "
                f"whose first axis is not the images'",
                hint="use a tensor with one entry an image, or a single number",
            )
        numbers = other.new_tensor(self.values, dtype=torch.promote_types(other.dtype, torch.float32))
        return function(numbers.reshape(-1, *(1,) * (other.dim() - 1)), other)

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

    def __mod__(self, other: object) -> "Length":
        return self._combine(other, operator.mod)

    def __neg__(self) -> "Length":
        return Length(tuple(-value for value in self.values))

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

    def __repr__(self) -> str:
        return f"Length({self._listing()})"
