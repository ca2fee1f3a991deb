"""Where the axes of the image are once a tensor has been reshaped."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from anysize.models.summary.state import Factor, State

__all__ = ["refactored"]


def refactored(state: State, shape: Sequence[int]) -> State | None:
    """Lay the factors of ``state`` in the dimensions of ``shape``; None where that takes an axis of the image apart.

    Flattening H x W to tokens and back is only a matter of which factors share a dimension. Channels may be split
    (groups); rows of the image may not (space to depth by reshaping), for then a position is no place of the image.
    """
    factors = deque(factor for dim in state.dims for factor in dim if factor.length != 1 or factor.reach is not None)
    dims = []
    for length in shape:
        taken: list[Factor] = []
        missing = length
        while missing != 1:
            if not factors:
                return None
            factor = factors.popleft()
            if missing % factor.length == 0:
                taken.append(factor)
                missing //= factor.length
            elif factor.reach is None and factor.length % missing == 0:
                taken.append(Factor(missing))
                factors.appendleft(Factor(factor.length // missing))
                missing = 1
            else:
                return None
        dims.append(tuple(taken) or (Factor(1),))
    if any(factor.length != 1 for factor in factors):
        return None
    if factors:  # axes of the image that are one position long
        return None
    return replace(state, dims=tuple(dims))
