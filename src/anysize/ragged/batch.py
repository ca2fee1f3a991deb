"""`RaggedBatch`: images of many sizes on one canvas, and what is known of the padding around them."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from anysize.errors import RaggedError
from anysize.ragged.dispatch import dispatch
from anysize.ragged.laying import check_images, lay_images
from anysize.ragged.layouts import CANONICAL, Layout, cropped_to
from anysize.ragged.lengths import Length, lengths_of_sizes, product
from anysize.ragged.padded import PaddedCanvas, Padding
from anysize.ragged.padding import Columns
from anysize.sizes import format_size

__all__ = ["Padding", "RaggedBatch"]


class RaggedBatch(PaddedCanvas):
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

    __slots__ = ()

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
        return cls.from_label_canvas(lay_images(masks, extents), sizes, padding=Padding.ZERO)

    @classmethod
    def from_label_canvas(
        cls, canvas: Tensor, sizes: Sequence[Sequence[int]], *, padding: Padding = Padding.UNKNOWN
    ) -> "RaggedBatch":
        """Take maps without a channel axis that lie on a canvas (N, *spatial) already; nothing is copied.

        Args:
            canvas: each map in its top-left corner.
            sizes: N true sizes, one integer a spatial axis.
            padding: what is known of the pixels outside the maps, as of a batch.

        Raises:
            RaggedError: sizes that do not fit the canvas.
        """
        with_channel = cls(canvas[:, None], sizes, padding=padding)
        layout = ((), *((axis,) for axis in range(canvas.dim() - 1)))
        return cls.laid_out(canvas, with_channel._lengths, padding, layout, tuple(canvas.shape[1:]))

    def unbind(self, dim: int = 0) -> Any:
        """Return the images, each at its true size: N tensors (C, *size), views of the canvas.

        Along another axis it is ``torch.Tensor.unbind``: batches without that axis.
        """
        if dim % self.dim():
            return self._dispatch(Tensor.unbind, (self, dim), {})
        return [
            cropped_to(self._canvas[number], self._layout[1:], self._extents, size)
            for number, size in enumerate(self.sizes)
        ]

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the batch with every tensor of it, the sizes' too, put elsewhere by ``move``."""
        result = self.with_canvas(move(self._canvas), self.padding)
        result._lengths = tuple(length.moved(move) for length in self._lengths)
        return result

    def plain(self) -> Tensor | None:
        """Return the images as one ordinary tensor where they agree in size (eager mode), else None."""
        for length in self._lengths:
            known = length.known
            if known is None or known.count(known[0]) != len(known):
                return None
        if self.is_uniform:
            return self._canvas
        return cropped_to(self._canvas, self._layout, self._extents, self.sizes[0])

    @property
    def shape(self) -> tuple[Any, ...]:
        """(N, C, *lengths): the spatial axes are `Length`s, one integer per image."""
        return tuple(
            product([self._lengths[axis].with_limit(extent) for axis in axes]) if axes else extent
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
