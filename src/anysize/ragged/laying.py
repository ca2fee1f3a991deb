"""Images onto a canvas, and off it again: both differentiable, and each the other's gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.errors import RaggedError
from anysize.ragged.padding import Columns
from anysize.sizes import format_size

__all__ = ["check_images", "image_index", "lay_images", "take_images"]


def image_index(number: int, size: Sequence[int]) -> tuple[Any, ...]:
    """Return the index of image ``number``, of true size ``size``, into a canvas (N, *plain, *spatial)."""
    return (number, ..., *(slice(0, length) for length in size))


class _Lay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, extents: tuple[int, ...], *images: Tensor) -> Tensor:
        num_axes = len(extents)
        ctx.columns = tuple(zip(*(image.shape[-num_axes:] for image in images), strict=True))
        first = images[0]
        shape = (len(images), *first.shape[: first.dim() - num_axes], *extents)
        # In the memory format of the images: a convolution behind would else copy the canvas.
        channels_last = num_axes in (2, 3) and first.dim() == 1 + num_axes and _channels_lie_together(images)
        layout = {2: torch.channels_last, 3: torch.channels_last_3d}[num_axes] if channels_last else None
        canvas = torch.empty(
            shape, dtype=first.dtype, device=first.device, memory_format=layout or torch.contiguous_format
        )
        canvas.zero_()
        for number, image in enumerate(images):
            canvas[image_index(number, image.shape[-num_axes:])] = image
        return canvas

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *take_images(grads[0], ctx.columns))


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, view: Tensor, columns: Columns) -> tuple[Tensor, ...]:
        ctx.extents = tuple(view.shape[-len(columns) :])
        return tuple(view[image_index(n, size)] for n, size in enumerate(zip(*columns, strict=True)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return lay_images(grads, ctx.extents), None


def _channels_lie_together(images: Sequence[Tensor]) -> bool:
    image = max(images, key=lambda image: image.numel())  # the strides of a single pixel tell nothing
    return image.shape[0] > 1 and image[0].numel() > 1 and image.stride(0) == 1


def lay_images(images: Sequence[Tensor], extents: Sequence[int]) -> Tensor:
    """Lay images (*plain, *size) in the top-left corners of a canvas of zeros (N, *plain, *extents)."""
    canvas: Tensor = _Lay.apply(tuple(extents), *images)  # type: ignore[no-untyped-call]
    return canvas


def take_images(view: Tensor, columns: Columns) -> tuple[Tensor, ...]:
    """Return the images of a spatial view (N, *plain, *spatial): N views (*plain, *size).

    One gradient canvas for all of them: plain slices would make one for each.
    """
    images: tuple[Tensor, ...] = _Take.apply(view, columns)  # type: ignore[no-untyped-call]
    return images


def check_images(images: Sequence[Any], canvas: Sequence[int] | None, num_plain: int) -> tuple[int, ...]:
    """Return the extents of the canvas that holds ``images``, (*plain, *spatial) each.

    Raises:
        RaggedError: no image, images that differ in kind, or a canvas that is too small.
    """
    if not images:
        raise RaggedError("a ragged batch was asked for without any image", hint="pass one image or more")
    first = images[0]
    forms = "C x L, C x H x W or C x D x H x W with the same number of axes and of channels C"
    if num_plain == 0:
        forms = "L, H x W or D x H x W with the same number of axes"
    for index, image in enumerate(images):
        if not isinstance(image, Tensor):
            raise RaggedError(
                f"image {index} is a {type(image).__name__}; a torch.Tensor is required",
                hint="torch.from_numpy(image).permute(2, 0, 1) makes one of a NumPy image (H, W, C)",
            )
        spatial = image.dim() - num_plain
        if image.dim() != first.dim() or not 1 <= spatial <= 3 or image.shape[:num_plain] != first.shape[:num_plain]:
            raise RaggedError(
                f"image {index} has shape {tuple(image.shape)}, image 0 {tuple(first.shape)}: all must be {forms}",
                hint="convert grey and colour images to one number of channels first" if num_plain else None,
            )
        if (image.dtype, image.device) != (first.dtype, first.device):
            raise RaggedError(
                f"image {index} is {image.dtype} on {image.device}, image 0 {first.dtype} on {first.device}: all "
                f"must agree",
                hint="convert them first, for example with image.to(images[0])",
            )
    largest = tuple(max(lengths) for lengths in zip(*(image.shape[num_plain:] for image in images), strict=True))
    extents = tuple(canvas) if canvas is not None else largest
    if len(extents) != len(largest) or any(have < need for have, need in zip(extents, largest, strict=True)):
        raise RaggedError(
            f"a canvas of {format_size(extents)} cannot hold images of up to {format_size(largest)}",
            hint=f"use a canvas of at least {format_size(largest)}",
        )
    return extents
