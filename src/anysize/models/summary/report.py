"""All that is said of one network."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from anysize.errors import AnysizeError, ImageSizeError, UsageError
from anysize.models.probe import smallest_side
from anysize.models.summary.costs import Costs, count_costs
from anysize.models.summary.counts import ParameterCounts, count_parameters
from anysize.models.summary.field import ReceptiveField, receptive_field
from anysize.models.summary.layers import Layer, list_layers
from anysize.sizes import format_size

__all__ = ["NetworkSummary", "SmallestImage", "summarise"]

_STEP = 32


@dataclass(frozen=True, kw_only=True)
class SmallestImage:
    """The smallest square image that a network takes."""

    side: int
    """In pixels."""
    multiple_of: int = 1
    """Sides must be multiples of this."""
    only: bool = False
    """Whether it takes no other size than that."""


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """A network: what it is made of, and what an image of one size costs."""

    name: str
    num_classes: int
    in_channels: int
    size: tuple[int, int]
    """(height, width) of the image that ``costs`` is about."""
    counts: ParameterCounts
    costs: Costs
    field: ReceptiveField
    smallest: SmallestImage | None
    """None where no square image up to 4,096 pixels a side is taken, but for the size above."""
    layers: tuple[Layer, ...]


def summarise(
    model: nn.Module, *, name: str, num_classes: int, in_channels: int, size: tuple[int, int]
) -> NetworkSummary:
    """Describe ``model``: nothing is computed, and its weights are not touched.

    Args:
        model: on any device, the meta device too.
        name: of it.
        num_classes: of it.
        in_channels: of its images.
        size: (height, width) of the image whose costs are counted.

    Raises:
        ImageSizeError: an image of ``size`` is too small for it.
        UsageError: it does not take such images for another reason.
    """
    on_meta = copy.deepcopy(model).to("meta").float().eval()
    _require_size(on_meta, name, in_channels, size)
    return NetworkSummary(
        name=name,
        num_classes=num_classes,
        in_channels=in_channels,
        size=size,
        counts=count_parameters(on_meta),
        costs=count_costs(on_meta, in_channels, size),
        field=receptive_field(on_meta, in_channels, size),
        smallest=_smallest(on_meta, in_channels),
        layers=tuple(list_layers(on_meta, in_channels, size)),
    )


def _require_size(model: nn.Module, name: str, in_channels: int, size: tuple[int, int]) -> None:
    try:
        _attempt(model, in_channels, size)
    except AnysizeError:  # the network itself says what it takes
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        smallest = _smallest(model, in_channels)
        side = None if smallest is None else smallest.side
        if side is not None and min(size) < side:
            raise ImageSizeError(
                f"--size is {format_size(size)}; {name} needs at least {side}x{side}",
                hint=f"--size {side}x{side}, or larger",
            ) from error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if smallest is not None and smallest.multiple_of > 1:
            near = [-(-length // smallest.multiple_of) * smallest.multiple_of for length in size]
            hint = f"--size {format_size(near)}: sides that are multiples of {smallest.multiple_of}"
        else:
            hint = "give the size that it is made for: --size HEIGHTxWIDTH"
        raise UsageError(
            f"{name} takes no image of {in_channels} channels and {format_size(size)} pixels: {reason[0]}", hint=hint
        ) from error


def _smallest(model: nn.Module, in_channels: int) -> SmallestImage | None:
    try:
        side = smallest_side(model, in_channels)
    except (UsageError, ValueError, AssertionError):
        side = None
    if side is not None and _takes(model, in_channels, side + 1):
        return SmallestImage(side=side)
    # It does not take every size above the smallest, where a search by halves may have led anywhere.
    for multiple in range(_STEP, 16 * _STEP, _STEP):
        if all(_takes(model, in_channels, multiple + more) for more in (0, _STEP)):
            return SmallestImage(side=multiple, multiple_of=_STEP)
    return None if side is None else SmallestImage(side=side, only=True)


def _takes(model: nn.Module, in_channels: int, side: int) -> bool:
    try:
        _attempt(model, in_channels, (side, side))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def _attempt(model: nn.Module, in_channels: int, size: tuple[int, int]) -> None:
    with torch.no_grad():
        model(torch.empty(1, in_channels, *size, device="meta"))
