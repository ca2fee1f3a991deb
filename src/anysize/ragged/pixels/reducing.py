"""Which axes of a canvas a reduction takes away, and what is left: a batch of fewer axes, or an ordinary tensor."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length, product
from anysize.ragged.registry import refusal

__all__ = ["Reduction", "highest", "lowest", "places_of"]


def places_of(function: Callable[..., Any], input: RaggedBatch, dim: Any) -> tuple[int, ...]:
    """Return the places of the axes ``dim`` on the canvas, in order.

    Raises:
        UnsupportedOperatorError: no axis, which means all of them, or the images' among them.
        IndexError: as torch's, an axis that there is not, or one twice.
    """
    given = () if dim is None or isinstance(dim, bool) else tuple(dim) if isinstance(dim, list | tuple) else (dim,)
    num_axes = input.dim()
    if any(not -num_axes <= axis < num_axes for axis in given):
        raise IndexError(f"Dimension out of range (expected -{num_axes} to {num_axes - 1}, but got {dim})")
    places = tuple(sorted(axis % num_axes for axis in given))
    if len(set(places)) < len(places):
        raise IndexError(f"an axis appears twice among {tuple(given)}")
    if not places or 0 in places:
        over = "everything" if not places else f"axes {dim}, that of the images among them"
        raise refusal(function, f"it reduces over {over}, which mixes images; reduce each image over its own axes")
    return places


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction of a batch over some axes other than the images'."""

    input: RaggedBatch
    places: tuple[int, ...]
    """The axes of the canvas that are reduced."""

    @property
    def over_space(self) -> bool:
        """Whether padding stands among what is reduced to one number."""
        return any(self.input.layout[place] for place in self.places)

    @property
    def over_whole_space(self) -> bool:
        """Whether nothing but space is reduced, all of it, on (N, C, *spatial)."""
        return self.input.is_canonical and self.places == tuple(range(2, self.input.dim()))

    @property
    def axes_gone(self) -> tuple[int, ...]:
        """The spatial axes that are reduced away altogether: none that runs along another axis of the canvas too."""
        layout = self.input.layout
        kept = {axis for place, axes in enumerate(layout) if place not in self.places for axis in axes}
        return tuple(sorted({axis for place in self.places for axis in layout[place]} - kept))

    def counts(self, device: torch.device) -> Tensor | int:
        """How many numbers are reduced to one: an integer, or (N, 1, ...) one an image."""
        layout, shape = self.input.layout, self.input.canvas.shape
        plain = math.prod([shape[place] for place in self.places if not layout[place]])
        axes = [axis for place in self.places for axis in layout[place]]
        if not axes:
            return plain
        pixels = product([self.input.lengths[axis] for axis in axes])
        return (pixels * plain).tensor(device).reshape(-1, *(1,) * (self.input.dim() - 1))

    def result(self, values: Tensor, padding: Padding, *, keepdim: bool) -> RaggedBatch | Tensor:
        """Make the result of its canvas, the reduced axes of which are one long.

        Where some space is left, ``padding`` is what is known of it.
        """
        gone = self.axes_gone
        spatial = range(self.input.spatial_axes)
        if len(gone) == len(spatial):
            padding = Padding.ZERO  # there is none
        one = Length((1,) * len(self.input))
        if keepdim:
            # An axis that stands elsewhere on the canvas too is plain here, as its one number is.
            layout = tuple(
                tuple(axis for axis in axes if axis in gone) if place in self.places else axes
                for place, axes in enumerate(self.input.layout)
            )
            lengths = tuple(one if axis in gone else self.input.lengths[axis] for axis in spatial)
            extents = tuple(1 if axis in gone else self.input.extents[axis] for axis in spatial)
            return RaggedBatch.laid_out(values, lengths, padding, layout, extents)
        values = values.squeeze(self.places)
        left = [axis for axis in spatial if axis not in gone]
        if not left:
            return values
        layout = tuple(
            tuple(left.index(axis) for axis in axes)
            for place, axes in enumerate(self.input.layout)
            if place not in self.places
        )
        lengths = tuple(self.input.lengths[axis] for axis in left)
        return RaggedBatch.laid_out(values, lengths, padding, layout, tuple(self.input.extents[axis] for axis in left))

    def cleared_result(self, values: Tensor, *, keepdim: bool) -> RaggedBatch | Tensor:
        """As `result`, where a fill of the padding has come through to pixels of which nothing was real."""
        result = self.result(values, Padding.FINITE, keepdim=keepdim)
        return result.with_zeros() if isinstance(result, RaggedBatch) else result


def lowest(dtype: torch.dtype) -> Any:
    """The smallest number of a dtype, infinity included: a network may have set real pixels to it."""
    if dtype is torch.bool:
        return False
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def highest(dtype: torch.dtype) -> Any:
    """The largest number of a dtype, infinity included."""
    if dtype is torch.bool:
        return True
    return torch.inf if dtype.is_floating_point else torch.iinfo(dtype).max
