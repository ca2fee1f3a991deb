"""`StackedBatches`: several batches of the same images, stacked along a new first axis.

Feature pyramids are merged so: ``torch.stack(maps).sum(dim=0)``. The first axis of every other batch is that of the
images; here it counts the batches, which are kept as they are until something takes that axis away.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.operators import TensorLike
from anysize.ragged.registry import refusal

__all__ = ["StackedBatches"]

_SUMS = (torch.sum, Tensor.sum)
_MEANS = (torch.mean, Tensor.mean)
_MAXIMA = (torch.amax, Tensor.amax)
_MINIMA = (torch.amin, Tensor.amin)


class StackedBatches(TensorLike):
    """What ``torch.stack(batches)`` returns: (k, N, C, *spatial).

    It can be summed, averaged, or reduced to its maximum or minimum over the first axis, indexed and unbound along it.
    Anything else is refused.

    Args:
        batches: ragged batches (or groups of them) of the same images at the same sizes.
    """

    __slots__ = ("batches",)

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = tuple(batches)

    @property
    def shape(self) -> tuple[Any, ...]:
        """(k, N, C, *lengths)."""
        return (len(self.batches), *self.batches[0].shape)

    def size(self, dim: int | None = None) -> Any:
        """As ``torch.Tensor.size``."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of axes."""
        return int(self.batches[0].dim()) + 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the batches."""
        return self.batches[0].dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        """The device of the batches."""
        return self.batches[0].device  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.batches)

    def __repr__(self) -> str:
        return f"StackedBatches({', '.join(map(repr, self.batches))})"

    @classmethod
    def _dispatch(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stack = args[0] if args else kwargs.get("input")
        if isinstance(stack, StackedBatches):
            if function is Tensor.__getitem__ and isinstance(args[1], int):
                return stack.batches[args[1]]
            if function in (torch.unbind, Tensor.unbind) and stack._axis(args[1:], kwargs) == 0:
                return stack.batches
            if function in (*_SUMS, *_MEANS, *_MAXIMA, *_MINIMA):
                return stack._reduced(function, args[1:], kwargs)
        raise refusal(
            function,
            "its first axis counts stacked batches, not images; it can be summed, averaged, or reduced to its maximum "
            "or minimum over that axis, indexed and unbound",
        )

    def _axis(self, args: Sequence[Any], kwargs: dict[str, Any], default: int | None = 0) -> int | None:
        """The one axis that a call names, counted from the front; None if it names another number of them."""
        dim = args[0] if args else kwargs.get("dim", default)
        if isinstance(dim, list | tuple):
            dim = dim[0] if len(dim) == 1 else None
        return None if dim is None else int(dim) % self.dim()

    def _reduced(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        extra = set(kwargs) - {"dim", "input"} or len(args) > 1
        if extra or self._axis(args, kwargs, None) != 0:
            raise refusal(function, "of stacked batches it reduces the first axis alone, without further options")
        if function in (*_MAXIMA, *_MINIMA):
            return reduce(torch.maximum if function in _MAXIMA else torch.minimum, self.batches)
        total = reduce(torch.add, self.batches)
        return total if function in _SUMS else total / len(self.batches)
