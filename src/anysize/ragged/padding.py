"""Clearing what lies outside the images: lazily, in place where the batch owns the memory, and backwards too.

An operator that reads beyond an image's border (a padded convolution) must read zeros there, and the gradient that it
sends back to those zeros must not travel on. Clearing by slices costs a fraction of a masked fill on a CPU: only the
padding itself is touched, and neighbours of equal extent share a slice.

Functions here take a *spatial view* of a canvas, (N, *plain, *spatial), and its columns: for each spatial axis the
lengths of all images.
"""

import math
from functools import lru_cache
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Columns", "clear_in_place", "clear_owned", "fill_in_place", "real_mask", "sum_over_real_pixels"]

Columns = tuple[tuple[int, ...], ...]
"""For each spatial axis, the lengths of the N images."""

# Below so many padded numbers a slab, one kernel over all padded pixels beats a kernel for each slab (CPU, measured:
# 13 x 64 x 10 x 10: 20 us against 120; 2 x 32 x 200 x 250: 66 us against 23).
_FEW_PER_SLAB = 24_000
_MOST_PIXELS = 131_072  # whose places are kept: 1 MiB


@lru_cache(maxsize=256)
def _slabs(columns: Columns, extents: tuple[int, ...]) -> tuple[tuple[slice | EllipsisType, ...], ...]:
    """Return index tuples that together cover all padding of a spatial view (N, ..., *extents).

    The slabs of one image do not overlap: that of axis k spans only the real extent of the axes before it.
    Consecutive images that share their extents up to axis k share a slab.
    """
    sizes = tuple(zip(*columns, strict=True))
    slabs: list[tuple[slice | EllipsisType, ...]] = []
    for axis, extent in enumerate(extents):
        start = 0
        while start < len(sizes):
            head = sizes[start][: axis + 1]
            stop = start + 1
            while stop < len(sizes) and sizes[stop][: axis + 1] == head:
                stop += 1
            if head[axis] < extent:
                before = tuple(slice(0, length) for length in head[:axis])
                behind = (slice(None),) * (len(extents) - axis - 1)
                slabs.append((slice(start, stop), ..., *before, slice(head[axis], None), *behind))
            start = stop
    return tuple(slabs)


@lru_cache(maxsize=256)
def _num_padded(columns: Columns, extents: tuple[int, ...]) -> int:
    num_real: int = sum(math.prod(size) for size in zip(*columns, strict=True))
    return len(columns[0]) * math.prod(extents) - num_real


@lru_cache(maxsize=64)  # enough for the layers of one batch; at most 64 MiB
def _padded_pixels(columns: Columns, extents: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the places of all padded pixels in a canvas, counted over (N, *extents)."""
    padded = np.ones((len(columns[0]), *extents), dtype=np.bool_)
    for number, size in enumerate(zip(*columns, strict=True)):
        place: tuple[int | slice, ...] = (number, *(slice(0, length) for length in size))
        padded[place] = False
    return torch.from_numpy(np.flatnonzero(padded)).to(device)


def clear_in_place(view: Tensor, columns: Columns) -> None:
    """Set the padding of ``view`` (N, *plain, *spatial) to zero, unseen by autograd.

    The version counter is passed by on purpose: an operator may have saved this tensor for its backward pass, where
    the padding is only ever multiplied by a zero gradient, and zero is as good as what was there.
    """
    raw = view.data
    extents = tuple(raw.shape[-len(columns) :])
    slabs = _slabs(columns, extents)
    if not slabs:
        return
    num_padded = _num_padded(columns, extents)
    on_cpu = raw.device.type == "cpu"
    num_numbers = raw.numel() // (raw.shape[0] * math.prod(extents)) * num_padded
    if num_padded <= _MOST_PIXELS and not (on_cpu and num_numbers >= _FEW_PER_SLAB * len(slabs)):
        pixels = raw.movedim(1, -1)
        if raw.dim() == 2 + len(columns) and pixels.is_contiguous():  # the channels of a pixel lie together
            pixels.reshape(-1, raw.shape[1]).index_fill_(0, _padded_pixels(columns, extents, raw.device), 0)
            return
    if not on_cpu:  # a kernel launch for each slab costs more than a pass over the canvas
        raw.masked_fill_(~real_mask(columns, extents, raw.dim(), raw.device), 0)
        return
    for index in slabs:
        raw[index].zero_()


def fill_in_place(view: Tensor, columns: Columns, values: Tensor | float) -> None:
    """Set the padding of ``view`` to ``values``, unseen by autograd.

    Args:
        view: (N, *plain, *spatial).
        columns: the true lengths.
        values: one number; or (C,), one a channel, for a view (N, C, *spatial).
    """
    raw = view.data
    extents = tuple(raw.shape[-len(columns) :])
    slabs = _slabs(columns, extents)
    if isinstance(values, Tensor):
        values = values.to(raw.dtype).reshape(-1, *(1,) * (raw.dim() - 2))
    if raw.device.type != "cpu" and slabs:  # a kernel launch for each slab costs more than a pass over the canvas
        mask = real_mask(columns, extents, raw.dim(), raw.device)
        raw.copy_(torch.where(mask, raw, torch.as_tensor(values, dtype=raw.dtype, device=raw.device)))
        return
    for index in slabs:
        raw[index] = values


@lru_cache(maxsize=64)  # a mask takes a quarter of one channel's memory; making it on a GPU waits for the queue
def real_mask(columns: Columns, extents: tuple[int, ...], dim: int, device: torch.device) -> Tensor:
    """Return a bool mask (N, 1, ..., *extents) of ``dim`` axes that is true on real pixels; not to be written to."""
    with torch.inference_mode(False):  # it is kept, for training too
        mask = torch.ones((), dtype=torch.bool, device=device)
        for axis, (extent, column) in enumerate(zip(extents, columns, strict=True)):
            shape = [1] * dim
            shape[dim - len(extents) + axis] = extent
            lengths = torch.tensor(column, device=device).reshape(-1, *(1,) * (dim - 1))
            mask = mask & (torch.arange(extent, device=device).reshape(shape) < lengths)
        return mask


class _ClearOwned(torch.autograd.Function):
    """Identity on real pixels; the padding is zero forwards, and so is its gradient backwards."""

    @staticmethod
    def forward(ctx: Any, canvas: Tensor, columns: Columns, is_zero: bool) -> Tensor:
        ctx.columns = columns
        if not is_zero:
            clear_in_place(canvas, columns)
        return canvas.view_as(canvas)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        if torch.is_grad_enabled():  # a second derivative is being recorded: nothing in place
            mask = real_mask(ctx.columns, tuple(grad.shape[2:]), grad.dim(), grad.device)
            return torch.where(mask, grad, grad.new_zeros(())), None, None
        # The caller promises that this gradient is a fresh tensor that nobody else holds.
        clear_in_place(grad, ctx.columns)
        return grad, None, None


def clear_owned(canvas: Tensor, columns: Columns, *, is_zero: bool) -> Tensor:
    """Return ``canvas`` with its padding set to zero in place, forwards and backwards.

    Only for operators that send back a freshly allocated gradient (convolutions): it is cleared in place as well.

    Args:
        canvas: (N, C, *spatial), owned by a ragged batch.
        columns: the true lengths.
        is_zero: the padding is zero already, so only the gradient needs clearing.
    """
    if not _slabs(columns, tuple(canvas.shape[2:])):
        return canvas
    if canvas.requires_grad and torch.is_grad_enabled():
        cleared: Tensor = _ClearOwned.apply(canvas, columns, is_zero)  # type: ignore[no-untyped-call]
        return cleared
    if not is_zero:
        clear_in_place(canvas, columns)
    return canvas


class _RealSum(torch.autograd.Function):
    """Sum over space of a canvas with zeros for padding; the gradient that goes back is zero in the padding too."""

    @staticmethod
    def forward(ctx: Any, canvas: Tensor, columns: Columns) -> Tensor:
        ctx.columns, ctx.extents = columns, tuple(canvas.shape[2:])
        # The layout of the gradient; that of an expanded canvas has several pixels in one place.
        ctx.layout = canvas.stride() if 0 not in canvas.stride() else canvas.contiguous().stride()
        axes = tuple(range(2, canvas.dim()))
        return canvas.sum(axes, keepdim=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        spread = grad.expand(*grad.shape[:2], *ctx.extents)
        if torch.is_grad_enabled():  # a second derivative is being recorded: nothing in place
            mask = real_mask(ctx.columns, ctx.extents, grad.dim(), grad.device)
            return torch.where(mask, spread, spread.new_zeros(())), None
        result = torch.empty_strided(spread.shape, ctx.layout, dtype=grad.dtype, device=grad.device).copy_(spread)
        clear_in_place(result, ctx.columns)
        return result, None


def sum_over_real_pixels(canvas: Tensor, columns: Columns) -> Tensor:
    """Sum each image over its pixels: (N, C, *spatial) -> (N, C, 1, ...).

    Args:
        canvas: with zeros for padding.
        columns: the true lengths.
    """
    total: Tensor = _RealSum.apply(canvas, columns)  # type: ignore[no-untyped-call]
    return total
