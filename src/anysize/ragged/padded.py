"""A canvas, the true lengths of the images on it, and what is known of the padding: what rules work with."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

import torch
from torch import Tensor

from anysize.errors import UnsupportedOperatorError
from anysize.ragged.canvas import CanvasTensor
from anysize.ragged.layouts import CANONICAL, Layout, mask_of, spatial_view
from anysize.ragged.lengths import Length
from anysize.ragged.padding import Columns, clear_in_place, clear_owned, fill_in_place

__all__ = ["PaddedCanvas", "Padding"]

_WORTH_SLABS = 1 << 19  # numbers: 2 MiB in float32


class Padding(IntEnum):
    """What is known of the pixels outside the images; a larger value knows more."""

    BORROWED = -1
    """As UNKNOWN, and pixels that are real in another batch lie in the same memory: nothing works on it in place."""
    UNKNOWN = 0
    """Anything, NaN included; the memory may be somebody else's, so it is never written to."""
    FINITE = 1
    """Finite numbers in memory that the batch owns; they may be overwritten with zeros."""
    ZERO = 2
    """Zeros."""


# A dataclass for DistributedDataParallel, which looks for the tensors of a model's output among its fields.
@dataclass(init=False, repr=False, eq=False)
class PaddedCanvas(CanvasTensor):
    """Images of mixed sizes, each in the top-left corner of its part of one canvas."""

    __slots__ = ("_canvas", "_extents", "_layout", "_lengths", "_mask", "_padding", "_version")
    _canvas: Tensor
    _lengths: tuple[Length, ...]
    _layout: Layout
    _extents: tuple[int, ...]
    _padding: Padding
    _version: int
    _mask: Tensor | None

    @property
    def canvas(self) -> Tensor:
        """The tensor, (N, C, *spatial) unless the model rearranged it. Do not rely on what its padding holds."""
        return self._canvas

    @property
    def lengths(self) -> tuple[Length, ...]:
        """The true lengths: for each spatial axis one integer an image."""
        return self._lengths

    @property
    def layout(self) -> Layout:
        """Which spatial axes each axis of the canvas runs over: `CANONICAL` for (N, C, *spatial)."""
        return self._layout

    @property
    def extents(self) -> tuple[int, ...]:
        """The lengths of the canvas along the spatial axes."""
        return self._extents

    @property
    def is_canonical(self) -> bool:
        """Whether the axes are (N, C, *spatial)."""
        return self._layout == CANONICAL.get(len(self._extents))

    @property
    def columns(self) -> Columns:
        """The true lengths as integers, axis by axis; eager mode only."""
        return tuple(length.values for length in self._lengths)

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The true size of each image."""
        return tuple(zip(*self.columns, strict=True))

    @property
    def padding(self) -> Padding:
        """What is known of the pixels outside the images."""
        # Another tensor may share the canvas' memory (detach, say) and have been changed in place since.
        if self._padding is Padding.ZERO and _version(self._canvas) != self._version:
            self._padding = Padding.FINITE
        return self._padding

    def _know(self, padding: Padding) -> None:
        self._padding = padding
        self._version = _version(self._canvas)

    @property
    def spatial_axes(self) -> int:
        """The number of spatial axes: one, two or three."""
        return len(self._extents)

    @property
    def is_uniform(self) -> bool:
        """Whether there is no padding at all."""
        return all(self._fills(axis) for axis in range(len(self._extents)))

    def _fills(self, axis: int) -> bool:
        known, extent = self._lengths[axis].known, self._extents[axis]
        return known is not None and known.count(extent) == len(known)

    @property
    def areas(self) -> tuple[int, ...]:
        """The number of real pixels of each image."""
        return tuple(math.prod(size) for size in self.sizes)

    @property
    def num_real(self) -> int:
        """The number of real pixels of all images."""
        return sum(self.areas)

    @property
    def mask(self) -> Tensor:
        """Bool: true on real pixels; of the canvas' axes, one long where they are not space: (N, 1, *spatial)."""
        if torch.compiler.is_compiling():  # one kept on a batch from outside would leak out of the graph
            return mask_of(self._lengths, self._layout, self._extents, self._canvas.device)
        if self._mask is None or self._mask.device != self._canvas.device:
            with torch.inference_mode(False):  # it is kept, for training too
                self._mask = mask_of(self._lengths, self._layout, self._extents, self._canvas.device)
        return self._mask

    def cleared(self) -> Tensor:
        """Return the canvas with zeros for padding; the gradient in the padding is cleared too.

        Only for operators that send back a fresh gradient tensor (convolutions), and for (N, C, *spatial).
        """
        if self.padding <= Padding.UNKNOWN or torch.compiler.is_compiling():
            return self.masked(0.0)
        canvas = clear_owned(self._canvas, self.columns, is_zero=self.padding is Padding.ZERO)
        self._know(Padding.ZERO)
        return canvas

    def zeroed(self) -> Tensor:
        """Return the canvas with zeros for padding; the gradient passes as it is.

        For operators whose own backward pass clears the gradient in the padding.
        """
        if self.padding <= Padding.UNKNOWN or torch.compiler.is_compiling():
            return self.masked(0.0)
        if self.padding is not Padding.ZERO:
            self._clear()
        return self._canvas

    def _clear(self) -> None:
        view = spatial_view(self._canvas.data, self._layout, self._extents)
        if view is not None:
            clear_in_place(view, self.columns)
        else:
            self._canvas.data.masked_fill_(~self.mask, 0)
        self._know(Padding.ZERO)

    def settled(self) -> Tensor:
        """Return the canvas with finite padding, so that a zero gradient times it is zero and not NaN.

        It is owned: an operator may work on it in place.
        """
        if self.padding > Padding.UNKNOWN:
            return self._canvas
        return self._canvas.clone() if self.is_uniform else self.masked(0.0)

    def masked(self, value: float) -> Tensor:
        """Return the canvas with ``value`` for padding, as a copy where there is any; differentiable any number of
        times."""
        if self.is_uniform:
            return self._canvas
        recorded = self._canvas.requires_grad and torch.is_grad_enabled()
        if not (recorded or torch.compiler.is_compiling()):
            copy = self._canvas.clone()  # and the padding by slabs: a third of the time of a broadcast mask on a CPU
            view = spatial_view(copy, self._layout, self._extents)
            if view is not None:
                fill_in_place(view, self.columns, value)
                return copy
        return torch.where(self.mask, self._canvas, self._canvas.new_full((), value))

    @contextmanager
    def lent(self, value: float) -> Iterator[Tensor]:
        """Lend the canvas with ``value`` for padding, of (N, C, *spatial), to an operator whose backward pass does not
        read it; in place where the memory is owned, and zeros afterwards."""
        # In place it is a kernel a slab, which pays for canvases that are slow to copy. A batch that came in from
        # outside has zeros around it, and several threads may be reading it: to it nothing but zeros is written.
        outside = self.padding is not Padding.FINITE and not (self._canvas.requires_grad and torch.is_grad_enabled())
        if outside or self.padding <= Padding.UNKNOWN or self._canvas.numel() < _WORTH_SLABS:
            yield self.masked(value)
            return
        fill_in_place(self._canvas, self.columns, value)
        try:
            yield self._canvas
        finally:
            self._clear()

    def kept_finite(self) -> Self:
        """Return this batch with its padding cleared if the dtype's range is so small that garbage could overflow.

        What lies in the padding went through the same layers as the images, and grows as they do; in float16 it may
        reach infinity where they do not, and a zero gradient times infinity is NaN.
        """
        return self.with_zeros() if self._canvas.dtype == torch.float16 else self

    def with_zeros(self) -> Self:
        """Return this batch with zeros for padding, unseen by autograd; its canvas must be a rule's fresh result."""
        if self._padding is Padding.FINITE and not self.is_uniform:
            if torch.compiler.is_compiling():
                return self.with_canvas(self.masked(0.0), Padding.ZERO)
            self._clear()
        return self

    def with_canvas(self, canvas: Tensor, padding: Padding) -> Self:
        """Return a batch of the same sizes and layout on another canvas tensor of the same extents."""
        result = type(self).__new__(type(self))
        result._canvas, result._lengths = canvas, self._lengths
        result._layout, result._extents, result._mask = self._layout, self._extents, self._mask
        result._know(padding)
        return result

    def replace_canvas(self, canvas: Tensor, padding: Padding) -> None:
        """Take the result of an in-place operator.

        Raises:
            UnsupportedOperatorError: the operator worked on a copy, because this batch shares its memory with another
                one, which should have changed with it.
        """
        self.require_own_memory()
        if canvas.shape != self._canvas.shape:  # cropped: only canonical canvases are
            self._mask = None
            self._extents = tuple(canvas.shape[2:])
        self._canvas = canvas
        self._know(padding)

    def require_own_memory(self) -> None:
        """Check that an operator may work in place.

        Raises:
            UnsupportedOperatorError: see `replace_canvas`.
        """
        if self._padding is Padding.BORROWED:
            raise UnsupportedOperatorError(
                "an in-place operator was given a batch that is a slice or an expansion of another one: it cannot work "
                "on the memory that they share",
                hint="work out of place: y = torch.relu(x[..., :-1]), y = x + 1",
            )

    def with_dtype(self, canvas: Tensor) -> Self:
        """Return the same images on ``canvas``, which holds them in another dtype or memory format."""
        # A narrower dtype may turn large numbers into infinity; zeros stay zeros.
        known = self.padding if canvas.dtype == self.dtype or self.padding is Padding.ZERO else Padding.UNKNOWN
        return self.with_canvas(canvas, known)


def _version(canvas: Tensor) -> int:
    """How often the memory of ``canvas`` was changed in place; inference tensors do not count that."""
    return 0 if torch.compiler.is_compiling() or canvas.is_inference() else canvas._version
