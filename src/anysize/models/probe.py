"""What a network demands of its images, found by asking it."""

import copy
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from anysize.errors import ImageSizeError, UsageError
from anysize.models.fixed_size import FixedSize

__all__ = ["SmallestImage", "fixed_side", "has_batch_statistics", "smallest_image", "smallest_side"]

_LARGEST_PROBE = 4096
_LARGEST_SCANNED = 512


@dataclass(frozen=True, kw_only=True)
class SmallestImage:
    """The smallest square image that a network takes."""

    side: int
    """In pixels."""
    multiple_of: int | None = 1
    """Sides must be multiples of this. None where it takes some larger sizes, by no such rule."""
    only: bool = False
    """Whether it takes no other size than that."""


def smallest_side(model: nn.Module, in_channels: int) -> int:
    """Return the side in pixels of the smallest square image that ``model`` accepts in evaluation mode.

    The forward pass runs on meta tensors: shapes only, no arithmetic. For a network that takes one size and no other
    (`FixedSize`) it is that size.

    Raises:
        UsageError: it accepts none of up to 4,096 pixels a side.
    """
    accepts = _question(model, in_channels)
    smallest = _search(model, accepts)
    if smallest is not None:
        return smallest.side
    side = _bisected(accepts)  # sides that follow no rule and lie beyond the scan: the best that is known
    if side is None:
        raise UsageError(
            f"{type(model).__name__} accepts no image of {in_channels} channels up to {_LARGEST_PROBE} pixels a side"
        )
    return side


def smallest_image(model: nn.Module, in_channels: int) -> SmallestImage | None:
    """Return the smallest square image that ``model`` accepts in evaluation mode, and by what rule larger ones are.

    The forward pass runs on meta tensors. None where no rule is found: it accepts no side of up to 512 pixels, and not
    every one above some larger side.
    """
    return _search(model, _question(model, in_channels))


def _question(model: nn.Module, in_channels: int) -> Callable[[int], bool]:
    """Whether ``model`` accepts a square of that side."""
    probe = copy.deepcopy(model).to("meta").eval()

    def accepts(side: int) -> bool:
        try:
            with torch.no_grad():
                probe(torch.empty(1, in_channels, side, side, device="meta"))
        except (RuntimeError, ValueError, AssertionError, ImageSizeError):
            return False
        return True

    return accepts


def _search(model: nn.Module, accepts: Callable[[int], bool]) -> SmallestImage | None:
    fixed = fixed_side(model)
    if fixed is not None and accepts(fixed):
        return SmallestImage(side=fixed, only=True)
    side = _bisected(accepts)
    if side is not None and accepts(side + 1) and accepts(2 * side + 1):
        return SmallestImage(side=side)
    # It does not take every size above the smallest, where a search by halves may have led anywhere.
    taken = list(islice(filter(accepts, range(1, _LARGEST_SCANNED + 1)), 3))
    return _rule(taken, accepts) if taken else None


def _bisected(accepts: Callable[[int], bool]) -> int | None:
    # What is accepted stays accepted for larger images: the windows of convolutions and pools only gain room.
    side = 1 + bisect_left(range(1, _LARGEST_PROBE + 1), True, key=accepts)
    return side if side <= _LARGEST_PROBE else None


def _rule(taken: list[int], accepts: Callable[[int], bool]) -> SmallestImage:
    """Find the step from the first sides that are taken, up to three; the others lie beyond the scan."""
    first = taken[0]
    if len(taken) == 1 and not accepts(2 * first):
        return SmallestImage(side=first, only=True)
    step = taken[1] - first if len(taken) > 1 else first
    expected = [first, first + step, first + 2 * step]
    regular = first % step == 0 and expected[: len(taken)] == taken and all(map(accepts, expected[len(taken) :]))
    return SmallestImage(side=first, multiple_of=step if regular else None)


def fixed_side(model: nn.Module) -> int | None:
    """Return the side in pixels of the only images that ``model`` takes (`FixedSize`); None where it takes others."""
    return next((module.side for module in model.modules() if isinstance(module, FixedSize)), None)


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether ``model``, in its present mode, normalises with the statistics of the batch it is given."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)
        for module in model.modules()
    )
