"""Clearing what lies outside the images: lazily, in place where the batch owns the memory, and backwards too.

An operator that reads beyond an image's border (a padded convolution) must read zeros there, and the gradient that it
sends back to those zeros must not travel on. Clearing by slices costs a fraction of a masked fill on a CPU: only the
padding itself is touched, and neighbours of equal extent share a slice.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["clear_in_place", "clear_owned", "fill_in_place", "image_index", "real_mask"]

Sizes = tuple[tuple[int, ...], ...]


def image_index(number: int, size: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Return the index of image ``number``, of true size ``size``, into a canvas (N, C, *spatial)."""
    return (number, slice(None), *(slice(0, length) for length in size))


def _padding_slices(canvas: Tensor, sizes: Sizes) -> Iterator[tuple[slice, ...]]:
    """Give index tuples that together cover all padding of ``canvas`` (N, C, *spatial).

    The slabs of one image do not overlap: that of axis k spans only the real extent of the axes before it.
    Consecutive images that share their extents up to axis k share a slab.
    """
    extents = tuple(canvas.shape[2:])
    for axis, extent in enumerate(extents):
        start = 0
        while start < len(sizes):
            head = sizes[start][: axis + 1]
            stop = start + 1
            while stop < len(sizes) and sizes[stop][: axis + 1] == head:
                stop += 1
            if head[axis] < extent:
                before = tuple(slice(0, length) for length in head[:axis])
                yield (slice(start, stop), slice(None), *before, slice(head[axis], None))
            start = stop


def clear_in_place(canvas: Tensor, sizes: Sizes) -> None:
    """Set the padding of ``canvas`` (N, C, *spatial) to zero, unseen by autograd.

    The version counter is passed by on purpose: an operator may have saved this tensor for its backward pass, where
    the padding is only ever multiplied by a zero gradient, and zero is as good as what was there.
    """
    raw = canvas.detach() if canvas.requires_grad else canvas
    raw = raw.data
    for index in _padding_slices(raw, sizes):
        raw[index].zero_()


def fill_in_place(canvas: Tensor, sizes: Sizes, values: Tensor) -> None:
    """Set the padding of ``canvas`` (N, C, *spatial) to ``values`` (C,), one a channel, unseen by autograd."""
    raw = canvas.data
    column = values.to(raw.dtype).reshape(-1, *(1,) * (raw.dim() - 2))
    for index in _padding_slices(raw, sizes):
        raw[index] = column


def real_mask(sizes: Sizes, canvas: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a bool mask (N, 1, *spatial) that is true on real pixels."""
    mask = torch.ones((), dtype=torch.bool, device=device)
    for axis, extent in enumerate(canvas):
        lengths = torch.tensor([size[axis] for size in sizes], device=device)
        shape = [1] * (2 + len(canvas))
        shape[2 + axis] = extent
        inside = torch.arange(extent, device=device).reshape(shape) < lengths.reshape(-1, *(1,) * (len(shape) - 1))
        mask = mask & inside
    return mask


class _ClearOwned(torch.autograd.Function):
    """Identity on real pixels; the padding is zero forwards, and so is its gradient backwards."""

    @staticmethod
    def forward(ctx: Any, canvas: Tensor, sizes: Sizes, is_zero: bool) -> Tensor:
        ctx.sizes = sizes
        if not is_zero:
            clear_in_place(canvas, sizes)
        return canvas.view_as(canvas)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        if torch.is_grad_enabled():  # a second derivative is being recorded: nothing in place
            mask = real_mask(ctx.sizes, tuple(grad.shape[2:]), grad.device)
            return torch.where(mask, grad, grad.new_zeros(())), None, None
        # The caller promises that this gradient is a fresh tensor that nobody else holds.
        clear_in_place(grad, ctx.sizes)
        return grad, None, None


def clear_owned(canvas: Tensor, sizes: Sizes, *, is_zero: bool) -> Tensor:
    """Return ``canvas`` with its padding set to zero in place, forwards and backwards.

    Only for operators that send back a freshly allocated gradient (convolutions): it is cleared in place as well.

    Args:
        canvas: (N, C, *spatial), owned by a ragged batch.
        sizes: the true sizes.
        is_zero: the padding is zero already, so only the gradient needs clearing.
    """
    if all(size == tuple(canvas.shape[2:]) for size in sizes):
        return canvas
    if canvas.requires_grad and torch.is_grad_enabled():
        cleared: Tensor = _ClearOwned.apply(canvas, sizes, is_zero)  # type: ignore[no-untyped-call]
        return cleared
    if not is_zero:
        clear_in_place(canvas, sizes)
    return canvas
