"""Resampling on a common canvas: each output pixel names, image by image, the input pixels that it is made of.

Legend: N images, E input extent along an axis, O output extent, L an image's own length.

The arithmetic is that of the native kernels (aten/native/UpSample.h), down to the type that it is done in: a rounding
that falls otherwise would pick another pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anysize.ragged.lengths import Length

__all__ = ["Axis", "linear_taps", "nearest_places", "take_linear", "take_pixels", "window_averages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What becomes of one spatial axis."""

    before: Length
    """Its true lengths in the input."""
    after: Length
    """Its true lengths in the output."""
    extent: int
    """O, the extent of the output's canvas."""
    factor: float | None
    """The given scale factor; None where the scale is that of the lengths."""

    def lengths(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(N, 1) before and after."""
        before, after = (length.tensor(device).to(dtype)[:, None] for length in (self.before, self.after))
        return before, after

    def places(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(1, O) 0, 1, 2, ..."""
        return torch.arange(self.extent, device=device, dtype=dtype)[None]


def nearest_places(axis: Axis, device: torch.device, *, exact: bool) -> Tensor:
    """Return for each output pixel the input pixel that it is a copy of: (N, O).

    Args:
        axis: what becomes of the axis.
        device: of the result.
        exact: ``nearest-exact``, which looks from pixel centres.
    """
    before, after = axis.lengths(device, torch.float32)
    places = axis.places(device, torch.float32)
    scale = before / after if axis.factor is None else torch.full_like(before, 1.0 / axis.factor)
    if exact:
        source = (places + 0.5) * scale
    else:
        source = places * scale
        # The native kernel goes by the lengths alone in these two cases.
        source = torch.where(before == after, places, torch.where(after == 2 * before, places / 2, source))
    return torch.minimum(source.floor(), before - 1).long()


def linear_taps(axis: Axis, device: torch.device, dtype: torch.dtype, *, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Return the first of the two pixels that each output pixel lies between, and the second's weight: (N, O) each.

    The second is the next one; at the image's end it is the last pixel itself.
    """
    before, after = axis.lengths(device, dtype)
    places = axis.places(device, dtype)
    if align_corners:
        source = places * torch.where(after > 1, (before - 1) / (after - 1).clamp(min=1), 0.0)
    else:
        scale = before / after if axis.factor is None else 1.0 / axis.factor
        source = ((places + 0.5) * scale - 0.5).clamp(min=0)
    source = torch.where(before == after, places, source)
    first = torch.minimum(source.floor(), before - 1)
    return first.long(), (source - first).clamp(0, 1)


def take_pixels(canvas: Tensor, axis: int, places: Tensor) -> Tensor:
    """Take pixels along one axis: (N, C, .., E, ..) and places (N, O) -> (N, C, .., O, ..)."""
    shape = [1] * canvas.dim()
    shape[0], shape[axis] = places.shape
    wanted = list(canvas.shape)
    wanted[axis] = places.shape[1]
    return canvas.gather(axis, places.reshape(shape).expand(wanted))


def take_linear(canvas: Tensor, axis: int, before: Length, taps: tuple[Tensor, Tensor]) -> Tensor:
    """Interpolate along one axis: (N, C, .., E, ..) -> (N, C, .., O, ..). No pixel outside the images is read."""
    first, weight = taps
    second = torch.minimum(first + 1, before.tensor(canvas.device)[:, None] - 1)
    shape = [1] * canvas.dim()
    shape[0], shape[axis] = weight.shape
    weight = weight.to(canvas.dtype).reshape(shape)
    return take_pixels(canvas, axis, first) * (1 - weight) + take_pixels(canvas, axis, second) * weight


def window_averages(canvas: Tensor, lengths: Sequence[Length], counts: Sequence[int]) -> Tensor:
    """Average each image in a grid of adaptive windows: (N, C, *spatial), finite -> (N, C, *counts)."""
    for number, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        axis = 2 + number
        total = length.tensor(canvas.device)[:, None]  # (N, 1)
        places = torch.arange(count, device=canvas.device)[None]
        start, stop = (places * total) // count, -(-((places + 1) * total) // count)  # (N, count)
        pixels = torch.arange(canvas.shape[axis], device=canvas.device)
        inside = (pixels >= start[..., None]) & (pixels < stop[..., None])  # (N, count, E)
        weights = inside.to(canvas.dtype) / (stop - start)[..., None].to(canvas.dtype)
        moved = canvas.movedim(axis, -1)
        averaged = moved.flatten(1, -2) @ weights.transpose(1, 2)  # (N, C * others, count)
        canvas = averaged.reshape(*moved.shape[:-1], count).movedim(-1, axis)
    return canvas
