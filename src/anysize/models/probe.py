"""What a network demands of its images, found by asking it."""

import copy
from bisect import bisect_left

import torch
from torch import nn

from anysize.errors import ImageSizeError, UsageError
from anysize.models.fixed_size import FixedSize

__all__ = ["fixed_side", "has_batch_statistics", "smallest_side"]

_LARGEST_PROBE = 4096


def smallest_side(model: nn.Module, in_channels: int) -> int:
    """Return the side in pixels of the smallest square image that ``model`` accepts in evaluation mode.

    The forward pass runs on meta tensors: shapes only, no arithmetic. For a network that takes one size and no other
    (`FixedSize`) it is that size.

    Raises:
        UsageError: it accepts none of up to 4,096 pixels a side.
    """
    probe = copy.deepcopy(model).to("meta").eval()

    def accepts(side: int) -> bool:
        try:
            with torch.no_grad():
                probe(torch.empty(1, in_channels, side, side, device="meta"))
        except (RuntimeError, ImageSizeError):
            return False
        return True

    fixed = fixed_side(model)
    if fixed is not None and accepts(fixed):
        return fixed
    # What is accepted stays accepted for larger images: the windows of convolutions and pools only gain room.
    side = 1 + bisect_left(range(1, _LARGEST_PROBE + 1), True, key=accepts)
    if side > _LARGEST_PROBE:
        raise UsageError(
            f"{type(model).__name__} accepts no image of {in_channels} channels up to {_LARGEST_PROBE} pixels a side"
        )
    return side


def fixed_side(model: nn.Module) -> int | None:
    """Return the side in pixels of the only images that ``model`` takes (`FixedSize`); None where it takes others."""
    return next((module.side for module in model.modules() if isinstance(module, FixedSize)), None)


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether ``model``, in its present mode, normalises with the statistics of the batch it is given."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)
        for module in model.modules()
    )
