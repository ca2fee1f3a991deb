"""Clearing what lies outside the images: lazily, in place where the batch owns the memory, and backwards too.

An operator that reads beyond an image's border (a padded convolution) must read zeros there, and the gradient that it
sends back to those zeros must not travel on. Clearing by slices costs a fraction of a masked fill on a CPU: only the
padding itself is touched, and neighbours of equal extent share a slice.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["clear_in_place", "clear_owned", "fill_in_place", "image_index", "real_mask", "sum_over_real_pixels"]

Sizes = tuple[tuple[int, ...], ...]


def image_index(number: int, size: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Return the index of image ``number``, of true size ``size``, into a canvas (N, C, *spatial)."""
    return (number, slice(None), *(slice(0, length) for length in size))


# Below so many padded numbers a slab, one kernel over all padded pixels beats a kernel for each slab (CPU, measured:
# 13 x 64 x 10 x 10: 20 us against 120; 2 x 32 x 200 x 250: 66 us against 23).
_FEW_PER_SLAB = 24_000
_MOST_PIXELS = 131_072  # whose places are kept: 1 MiB


@lru_cache(maxsize=256)
def _slabs(sizes: Sizes, extents: tuple[int, ...]) -> tuple[tuple[slice, ...], ...]:
    """Return index tuples that together cover all padding of a canvas (N, C, *extents).

    The slabs of one image do not overlap: that of axis k spans only the real extent of the axes before it.
    Consecutive images that share their extents up to axis k share a slab.
    """
    slabs: list[tuple[slice, ...]] = []
    for axis, extent in enumerate(extents):
        start = 0
        while start < len(sizes):
            head = sizes[start][: axis + 1]
            stop = start + 1
            while stop < len(sizes) and sizes[stop][: axis + 1] == head:
                stop += 1
            if head[axis] < extent:
                before = tuple(slice(0, length) for length in head[:axis])
                slabs.append((slice(start, stop), slice(None), *before, slice(head[axis], None)))
            start = stop
    return tuple(slabs)


@lru_cache(maxsize=256)
def _num_padded(sizes: Sizes, extents: tuple[int, ...]) -> int:
    return len(sizes) * math.prod(extents) - sum(math.prod(size) for size in sizes)


@lru_cache(maxsize=64)  # enough for the layers of one batch; at most 64 MiB
def _padded_pixels(sizes: Sizes, extents: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the places of all padded pixels in a canvas, counted over (N, *extents)."""
    padded = np.ones((len(sizes), *extents), dtype=np.bool_)
    for number, size in enumerate(sizes):
        place: tuple[int | slice, ...] = (number, *(slice(0, length) for length in size))
        padded[place] = False
    return torch.from_numpy(np.flatnonzero(padded)).to(device)


def clear_in_place(canvas: Tensor, sizes: Sizes) -> None:
    """Set the padding of ``canvas`` (N, C, *spatial) to zero, unseen by autograd.

    The version counter is passed by on purpose: an operator may have saved this tensor for its backward pass, where
    the padding is only ever multiplied by a zero gradient, and zero is as good as what was there.
    """
    raw = canvas.data
    extents = tuple(raw.shape[2:])
    slabs = _slabs(sizes, extents)
    if not slabs:
        return
    num_padded = _num_padded(sizes, extents)
    if num_padded <= _MOST_PIXELS and raw.shape[1] * num_padded < _FEW_PER_SLAB * len(slabs):
        pixels = raw.movedim(1, -1)
        if pixels.is_contiguous():  # channels_last: the channels of a pixel lie together
            pixels.reshape(-1, raw.shape[1]).index_fill_(0, _padded_pixels(sizes, extents, raw.device), 0)
            return
    for index in slabs:
        raw[index].zero_()


def fill_in_place(canvas: Tensor, sizes: Sizes, values: Tensor) -> None:
    """Set the padding of ``canvas`` (N, C, *spatial) to ``values`` (C,), one a channel, unseen by autograd."""
    raw = canvas.data
    column = values.to(raw.dtype).reshape(-1, *(1,) * (raw.dim() - 2))
    for index in _slabs(sizes, tuple(raw.shape[2:])):
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


class _RealSum(torch.autograd.Function):
    """Sum over space of a canvas with zeros for padding; the gradient that goes back is zero in the padding too."""

    @staticmethod
    def forward(ctx: Any, canvas: Tensor, sizes: Sizes, keepdim: bool) -> Tensor:
        ctx.sizes, ctx.extents, ctx.keepdim = sizes, tuple(canvas.shape[2:]), keepdim
        # The layout of the gradient; that of an expanded canvas has several pixels in one place.
        ctx.layout = canvas.stride() if 0 not in canvas.stride() else canvas.contiguous().stride()
        axes = tuple(range(2, canvas.dim()))
        return canvas.sum(axes, keepdim=keepdim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        if not ctx.keepdim:
            grad = grad.reshape(*grad.shape, *(1,) * len(ctx.extents))
        spread = grad.expand(*grad.shape[:2], *ctx.extents)
        if torch.is_grad_enabled():  # a second derivative is being recorded: nothing in place
            mask = real_mask(ctx.sizes, ctx.extents, grad.device)
            return torch.where(mask, spread, spread.new_zeros(())), None, None
        result = torch.empty_strided(spread.shape, ctx.layout, dtype=grad.dtype, device=grad.device).copy_(spread)
        clear_in_place(result, ctx.sizes)
        return result, None, None


def sum_over_real_pixels(canvas: Tensor, sizes: Sizes, *, keepdim: bool) -> Tensor:
    """Sum each image over its pixels: (N, C, *spatial) -> (N, C), or (N, C, 1, ...) with ``keepdim``.

    Args:
        canvas: with zeros for padding.
        sizes: the true sizes.
        keepdim: keep the spatial axes with length 1.
    """
    total: Tensor = _RealSum.apply(canvas, sizes, keepdim)  # type: ignore[no-untyped-call]
    return total
