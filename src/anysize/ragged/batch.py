"""`RaggedBatch`: images of many sizes on one canvas, and what is known of the padding around them."""

import math
import operator
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Self

import torch
from torch import Tensor

from anysize.errors import RaggedError
from anysize.ragged.canvas import CanvasTensor
from anysize.ragged.dispatch import dispatch
from anysize.ragged.laying import check_images, lay_images
from anysize.ragged.layouts import CANONICAL, Layout, mask_of, spatial_view
from anysize.ragged.lengths import Length, lengths_of_sizes
from anysize.ragged.padding import Columns, clear_in_place, clear_owned
from anysize.sizes import format_size

__all__ = ["Padding", "RaggedBatch"]


class Padding(IntEnum):
    """What is known of the pixels outside the images; a larger value knows more."""

    UNKNOWN = 0
    """Anything, NaN included; the memory may be somebody else's, so it is never written to."""
    FINITE = 1
    """Finite numbers in memory that the batch owns; they may be overwritten with zeros."""
    ZERO = 2
    """Zeros."""


class RaggedBatch(CanvasTensor):
    """A batch of images of mixed sizes: one canvas, each image in its top-left corner, and the true sizes.

    A plain class that implements ``__torch_function__``: an unmodified ``nn.Module`` takes it as ``model(batch)``.
    Each torch function is worked by its rule, exactly, or refused (`UnsupportedOperatorError`).

    Args:
        canvas: (N, C, *spatial) with one, two or three spatial axes.
        sizes: N true sizes, one integer a spatial axis: ``((h, w), ...)``.
        padding: what is known of the pixels outside the images. Leave it out for a tensor of your own: it is then
            copied before anything is cleared, never written to.

    Raises:
        RaggedError: sizes that do not fit the canvas.
    """

    __slots__ = ("_canvas", "_extents", "_layout", "_lengths", "_mask", "_padding", "_version")
    _canvas: Tensor
    _lengths: tuple[Length, ...]
    _layout: Layout
    _extents: tuple[int, ...]
    _padding: Padding
    _version: int
    _mask: Tensor | None

    def __init__(self, canvas: Tensor, sizes: Sequence[Sequence[int]], *, padding: Padding = Padding.UNKNOWN) -> None:
        true_sizes = tuple(tuple(operator.index(length) for length in size) for size in sizes)
        _check(canvas, true_sizes)
        # A compiled model reads the sizes from a tensor: one graph serves many of them.
        columns = torch.tensor(true_sizes, device=canvas.device).unbind(1)
        lengths = lengths_of_sizes(true_sizes)
        known = tuple(length.with_tensor(column) for length, column in zip(lengths, columns, strict=True))
        self._set(canvas, known, padding, CANONICAL[canvas.dim() - 2], tuple(canvas.shape[2:]))

    def _set(
        self, canvas: Tensor, lengths: tuple[Length, ...], padding: Padding, layout: Layout, extents: tuple[int, ...]
    ) -> None:
        self._canvas, self._lengths, self._layout, self._extents = canvas, lengths, layout, extents
        self._mask = None
        self._know(padding)

    @classmethod
    def laid_out(
        cls,
        canvas: Tensor,
        lengths: tuple[Length, ...],
        padding: Padding,
        layout: Layout | None = None,
        extents: tuple[int, ...] | None = None,
    ) -> "RaggedBatch":
        """Make the result of a rule, unchecked.

        Args:
            canvas: of one axis for each entry of the layout.
            lengths: the true lengths, one `Length` a spatial axis.
            padding: what is known of the padding. FINITE and ZERO mean that it may be overwritten: not for a tensor
                whose elements share memory (expanded).
            layout: where space lies; by default (N, C, *spatial).
            extents: lengths of the canvas along the spatial axes; by default read off the canonical layout.
        """
        batch = cls.__new__(cls)
        if layout is None:
            layout = CANONICAL[canvas.dim() - 2]
        if extents is None:
            extents = tuple(canvas.shape[canvas.dim() - len(lengths) :])
        batch._set(canvas, lengths, padding, layout, extents)
        return batch

    @classmethod
    def from_images(cls, images: Sequence[Tensor] | Tensor, canvas: Sequence[int] | None = None) -> "RaggedBatch":
        """Lay images of any sizes on the smallest canvas that holds them all, or on ``canvas``.

        Args:
            images: tensors C x H x W (or C x L, or C x D x H x W) of one dtype, device and number of channels; or one
                tensor N x C x *spatial of equal images.
            canvas: lengths of the spatial axes; by default the largest of each.

        Raises:
            RaggedError: no image, images that differ in kind, or a canvas that is too small.
        """
        images = list(images)
        extents = check_images(images, canvas, num_plain=1)
        sizes = tuple(tuple(image.shape[1:]) for image in images)
        return cls(lay_images(images, extents), sizes, padding=Padding.ZERO)

    @classmethod
    def from_labels(cls, masks: Sequence[Tensor] | Tensor, canvas: Sequence[int] | None = None) -> "RaggedBatch":
        """Lay maps without a channel axis, such as the label masks of a segmenter, on one canvas (N, *spatial).

        Args:
            masks: tensors H x W (or L, or D x H x W) of one dtype and device.
            canvas: lengths of the spatial axes; by default the largest of each.

        Raises:
            RaggedError: no mask, masks that differ in kind, or a canvas that is too small.
        """
        masks = list(masks)
        extents = check_images(masks, canvas, num_plain=0)
        sizes = tuple(tuple(mask.shape) for mask in masks)
        with_channel = cls(lay_images(masks, extents)[:, None], sizes, padding=Padding.ZERO)
        layout = ((), *((axis,) for axis in range(len(extents))))
        return cls.laid_out(with_channel._canvas[:, 0], with_channel._lengths, Padding.ZERO, layout, extents)

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
            self._mask = mask_of(self._lengths, self._layout, self._extents, self._canvas.device)
        return self._mask

    def unbind(self) -> list[Tensor]:
        """Return the images, each at its true size: N tensors (C, *size), views of the canvas."""
        return [self._image(number, size) for number, size in enumerate(self.sizes)]

    def _image(self, number: int, size: tuple[int, ...]) -> Tensor:
        image = self._canvas[number]
        for place, axes in enumerate(self._layout[1:]):
            if len(axes) == 1:
                image = image.narrow(place, 0, size[axes[0]])
            elif axes:
                image = image.unflatten(place, [self._extents[axis] for axis in axes])
                for offset, axis in enumerate(axes):
                    image = image.narrow(place + offset, 0, size[axis])
                image = image.flatten(place, place + len(axes) - 1)
        return image

    # What rules work with.

    def cleared(self) -> Tensor:
        """Return the canvas with zeros for padding; the gradient in the padding is cleared too.

        Only for operators that send back a fresh gradient tensor (convolutions), and for (N, C, *spatial).
        """
        if self.padding is Padding.UNKNOWN or torch.compiler.is_compiling():
            return self.masked(0.0)
        canvas = clear_owned(self._canvas, self.columns, is_zero=self.padding is Padding.ZERO)
        self._know(Padding.ZERO)
        return canvas

    def zeroed(self) -> Tensor:
        """Return the canvas with zeros for padding; the gradient passes as it is.

        For operators whose own backward pass clears the gradient in the padding.
        """
        if self.padding is Padding.UNKNOWN or torch.compiler.is_compiling():
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
        if self.padding is not Padding.UNKNOWN:
            return self._canvas
        return self._canvas.clone() if self.is_uniform else self.masked(0.0)

    def masked(self, value: float) -> Tensor:
        """Return the canvas with ``value`` for padding, as a copy where there is any; differentiable any number of
        times."""
        if self.is_uniform:
            return self._canvas
        return torch.where(self.mask, self._canvas, self._canvas.new_full((), value))

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
        """Take the result of an in-place operator."""
        if canvas.shape != self._canvas.shape:  # cropped: only canonical canvases are
            self._mask = None
            self._extents = tuple(canvas.shape[2:])
        self._canvas = canvas
        self._know(padding)

    def with_dtype(self, canvas: Tensor) -> Self:
        """Return the same images on ``canvas``, which holds them in another dtype or memory format."""
        # A narrower dtype may turn large numbers into infinity; zeros stay zeros.
        known = self.padding if canvas.dtype == self.dtype or self.padding is Padding.ZERO else Padding.UNKNOWN
        return self.with_canvas(canvas, known)

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the batch with every tensor of it, the sizes' too, put elsewhere by ``move``."""
        result = self.with_canvas(move(self._canvas), self.padding)
        result._lengths = tuple(length.moved(move) for length in self._lengths)
        return result

    def plain(self) -> Tensor | None:
        """Return the images as one ordinary tensor where they agree in size (eager mode), else None."""
        canvas = self._canvas
        for axis in range(len(self._extents)):
            known = self._lengths[axis].known
            if known is None or known.count(known[0]) != len(known):
                return None
        if self.is_uniform:
            return canvas
        size = self.sizes[0]
        for place, axes in enumerate(self._layout):
            if len(axes) == 1:
                canvas = canvas.narrow(place, 0, size[axes[0]])
            elif axes:
                canvas = canvas.unflatten(place, [self._extents[axis] for axis in axes])
                for offset, axis in enumerate(axes):
                    canvas = canvas.narrow(place + offset, 0, size[axis])
                canvas = canvas.flatten(place, place + len(axes) - 1)
        return canvas

    @property
    def shape(self) -> tuple[Any, ...]:
        """(N, C, *lengths): the spatial axes are `Length`s, one integer per image."""
        return tuple(
            math.prod((self._lengths[axis] for axis in axes[1:]), start=self._lengths[axes[0]]) if axes else extent
            for axes, extent in zip(self._layout, self._canvas.shape, strict=True)
        )

    def size(self, dim: int | None = None) -> Any:
        """As ``torch.Tensor.size``, with `Length`s for the spatial axes."""
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return self._canvas.shape[0]

    def __repr__(self) -> str:
        known = [length.known for length in self._lengths]
        if any(column is None for column in known):
            return (
                f"RaggedBatch(canvas={tuple(self._canvas.shape)}, sizes known when the graph runs, dtype={self.dtype})"
            )
        shown = ", ".join(format_size(size) for size in self.sizes[:4])
        more = f", ... {len(self)} images" if len(self) > 4 else ""
        return f"RaggedBatch(canvas={tuple(self._canvas.shape)}, sizes=[{shown}{more}], dtype={self.dtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._canvas, self.columns, int(self.padding), self._layout, self._extents)

    @classmethod
    def _dispatch(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return dispatch(function, args, kwargs)


def _version(canvas: Tensor) -> int:
    """How often the memory of ``canvas`` was changed in place; inference tensors do not count that."""
    return 0 if torch.compiler.is_compiling() or canvas.is_inference() else canvas._version


def _restore(canvas: Tensor, columns: Columns, padding: int, layout: Layout, extents: tuple[int, ...]) -> RaggedBatch:
    tensors = torch.tensor(columns, device=canvas.device).unbind(0)
    lengths = tuple(Length(column, tensor) for column, tensor in zip(columns, tensors, strict=True))
    return RaggedBatch.laid_out(canvas, lengths, Padding(padding), layout, extents)


def _check(canvas: Tensor, sizes: tuple[tuple[int, ...], ...]) -> None:
    extent = tuple(canvas.shape[2:])
    if not 3 <= canvas.dim() <= 5:
        raise RaggedError(
            f"the canvas has shape {tuple(canvas.shape)}; N x C x *spatial with one to three spatial axes is required"
        )
    if len(sizes) != canvas.shape[0]:
        raise RaggedError(
            f"{len(sizes)} sizes were given for a canvas of {canvas.shape[0]} images; one size an image is required"
        )
    for index, size in enumerate(sizes):
        if len(size) != len(extent) or any(not 1 <= a <= b for a, b in zip(size, extent, strict=True)):
            raise RaggedError(
                f"image {index} of the batch is {format_size(size)}, the canvas {format_size(extent)}: "
                f"each length must be at least 1 and at most the canvas'"
            )
