"""All that is said of one network."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from anysize.errors import AnysizeError, ImageSizeError, UsageError
from anysize.models.probe import SmallestImage, smallest_image
from anysize.models.summary.costs import Costs, count_costs
from anysize.models.summary.counts import ParameterCounts, count_parameters
from anysize.models.summary.field import ReceptiveField, receptive_field
from anysize.models.summary.layers import Layer, list_layers
from anysize.sizes import format_size

__all__ = ["NetworkSummary", "summarise"]


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
    """None where the sides that are taken follow no rule that was found."""
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
        smallest=smallest_image(on_meta, in_channels),
        layers=tuple(list_layers(on_meta, in_channels, size)),
    )


def _require_size(model: nn.Module, name: str, in_channels: int, size: tuple[int, int]) -> None:
    try:
        _attempt(model, in_channels, size)
    except AnysizeError:  # the network itself says what it takes
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        smallest = smallest_image(model, in_channels)
        if smallest is not None and not smallest.only and min(size) < smallest.side:
            square = format_size((smallest.side, smallest.side))
            raise ImageSizeError(
                f"--size is {format_size(size)}; {name} needs at least {square}",
                hint=f"--size {square}, or larger{_rule(smallest)}",
            ) from error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"{name} takes no image of {in_channels} channels and {format_size(size)} pixels: {reason[0]}",
            hint=_nearest(smallest, size),
        ) from error


def _nearest(smallest: SmallestImage | None, size: tuple[int, int]) -> str:
    """Advise on a size that is taken, where it is known."""
    if smallest is not None and smallest.only:
        return f"--size {format_size((smallest.side, smallest.side))}, the only square that it takes"
    if smallest is not None and smallest.multiple_of is not None and smallest.multiple_of > 1:
        near = [-(-length // smallest.multiple_of) * smallest.multiple_of for length in size]
        return f"--size {format_size(near)}{_rule(smallest)}"
    return "give the size that it is made for: --size HEIGHTxWIDTH"


def _rule(smallest: SmallestImage) -> str:
    several = smallest.multiple_of is not None and smallest.multiple_of > 1
    return f": sides that are multiples of {smallest.multiple_of}" if several else ""


def _attempt(model: nn.Module, in_channels: int, size: tuple[int, int]) -> None:
    with torch.no_grad():
        model(torch.empty(1, in_channels, *size, device="meta"))
