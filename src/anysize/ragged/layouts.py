"""Where space lies among the axes of a canvas: (N, C, H, W), or permuted, or several axes merged into one.

A layout says for each axis of a canvas which spatial axes it runs over: ``()`` for a plain axis (images, channels,
groups of channels), ``(0,)`` for the first spatial axis, ``(0, 1)`` for the first two merged in row-major order, as
``flatten(2)`` leaves them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from anysize.ragged.lengths import Length

__all__ = ["CANONICAL", "Layout", "cropped_to", "mask_of", "spatial_view", "split_axis"]

Layout = tuple[tuple[int, ...], ...]

CANONICAL: dict[int, Layout] = {
    1: ((), (), (0,)),
    2: ((), (), (0,), (1,)),
    3: ((), (), (0,), (1,), (2,)),
}
"""(N, C, *spatial) by the number of spatial axes."""


def split_axis(tensor: Tensor, place: int, lengths: Sequence[int]) -> Tensor:
    """View one axis as several, row-major."""
    return tensor.unflatten(place, list(lengths))  # type: ignore[no-untyped-call, no-any-return]


def cropped_to(tensor: Tensor, layout: Layout, extents: Sequence[int], size: Sequence[int]) -> Tensor:
    """View a tensor of one axis for each entry of ``layout``, each spatial axis cropped to its length in ``size``."""
    for place, axes in enumerate(layout):
        if len(axes) == 1:
            tensor = tensor.narrow(place, 0, size[axes[0]])
        elif axes:
            tensor = split_axis(tensor, place, [extents[axis] for axis in axes])
            for offset, axis in enumerate(axes):
                tensor = tensor.narrow(place + offset, 0, size[axis])
            tensor = tensor.flatten(place, place + len(axes) - 1)
    return tensor


def spatial_view(canvas: Tensor, layout: Layout, extents: Sequence[int]) -> Tensor | None:
    """View a canvas as (N, *plain, *spatial); None where a spatial axis is missing or stands twice."""
    num_spatial = len(extents)
    if layout == CANONICAL.get(num_spatial):
        return canvas
    if sorted(axis for axes in layout for axis in axes) != list(range(num_spatial)):
        return None
    places: dict[int, int] = {}
    plain: list[int] = []
    place = 0
    for number, axes in enumerate(layout):
        if len(axes) > 1:
            canvas = split_axis(canvas, place, [extents[axis] for axis in axes])
        if not axes and number > 0:
            plain.append(place)
        for axis in axes:
            places[axis] = place
            place += 1
        place += not axes
    return canvas.permute(0, *plain, *(places[axis] for axis in range(num_spatial)))


def mask_of(lengths: Sequence[Length], layout: Layout, extents: Sequence[int], device: torch.device) -> Tensor:
    """Return a bool mask that is true on real pixels, of as many axes as the layout, 1 long where it is plain."""
    mask = torch.ones((), dtype=torch.bool, device=device)
    for place, axes in enumerate(layout):
        if not axes:
            continue
        inside = torch.ones((1,) * (len(axes) + 1), dtype=torch.bool, device=device)  # (N, *axes)
        for number, axis in enumerate(axes):
            shape = [1] * (len(axes) + 1)
            shape[number + 1] = extents[axis]
            places = torch.arange(extents[axis], device=device).reshape(shape)
            inside = inside & (places < lengths[axis].tensor(device).reshape(-1, *(1,) * len(axes)))
        shape = [1] * len(layout)
        shape[0], shape[place] = inside.shape[0], math.prod(inside.shape[1:])
        mask = mask & inside.reshape(shape)
    return mask
