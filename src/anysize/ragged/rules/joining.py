"""Joining and taking apart along plain axes: concatenation, stacks, chunks. Space is left as it is."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.pixels.operands import common_extents, cropped_canvas
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.axes import axis_of, images_of, lay_alone, shared_canvas, view_padding
from anysize.ragged.stacked import StackedBatches

__all__: list[str] = []

Function = Callable[..., Any]


@register_rule(torch.cat, torch.concat, torch.concatenate, any_layout=True)
def cat(function: Function, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> RaggedBatch | Tensor:
    """Concatenate batches of the same images along channels: (N, C_k, H, W) -> (N, sum of C_k, H, W).

    Along axis 0 it appends images, along space it joins each image's own pixels.
    """
    batches = _only_batches(function, tensors, kwargs)
    place = axis_of(kwargs.get("axis", dim), batches[0].dim())
    if place == 0:
        return _appended(function, batches)
    if batches[0].layout[place]:
        return _beside(function, batches, place)
    canvases, extents = _on_one_canvas(function, batches)
    return _fresh(batches, torch.cat(canvases, place), batches[0].layout, extents)


@register_rule(torch.stack, any_layout=True)
def stack(function: Function, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> RaggedBatch | StackedBatches:
    """Stack batches of the same images along a new plain axis: (N, C, H, W) -> (N, k, C, H, W), or (k, N, C, H, W)."""
    batches = _only_batches(function, tensors, kwargs)
    place = axis_of(dim, batches[0].dim() + 1)
    if place == 0:
        common_extents(function, batches)
        return StackedBatches(batches)
    canvases, extents = _on_one_canvas(function, batches)
    layout = (*batches[0].layout[:place], (), *batches[0].layout[place:])
    return _fresh(batches, torch.stack(canvases, place), layout, extents)


def _only_batches(function: Function, tensors: Sequence[Any], options: dict[str, Any]) -> list[RaggedBatch]:
    if options.get("out") is not None:
        raise refusal(function, "out= has no exact rule")
    for tensor in tensors:
        if not isinstance(tensor, RaggedBatch):
            raise refusal(
                function,
                f"a plain tensor of shape {tuple(tensor.shape)} stands beside it, and has no size for each image",
            )
    return list(tensors)


def _on_one_canvas(function: Function, batches: Sequence[RaggedBatch]) -> tuple[list[Tensor], tuple[int, ...]]:
    """Crop canvases of images of the same sizes to their common extents."""
    extents = common_extents(function, batches)
    lengths = batches[0].lengths
    return [cropped_canvas(function, b.canvas, b, lengths, extents) for b in batches], extents


def _fresh(
    batches: Sequence[RaggedBatch], canvas: Tensor, layout: tuple[tuple[int, ...], ...], extents: tuple[int, ...]
) -> RaggedBatch:
    """Make a batch of a canvas that was just made out of those of ``batches``.

    What is not known to be finite is cleared in the new memory, which costs less than a copy of it before.
    """
    known = batches[0].padding
    for batch in batches[1:]:
        known = batch.padding if batch.padding < known else known
    is_finite = known > Padding.UNKNOWN
    result = RaggedBatch.laid_out(canvas, batches[0].lengths, known if is_finite else Padding.FINITE, layout, extents)
    return result if is_finite else result.with_zeros()


def _appended(function: Function, batches: Sequence[RaggedBatch]) -> RaggedBatch:
    if torch.compiler.is_compiling():
        raise refusal(function, "appending images to a batch has no exact rule in a compiled model")
    first = batches[0]
    if any(batch.layout != first.layout for batch in batches):
        raise refusal(function, "its ragged batches have their axes in different orders")
    if any(len(axes) > 1 for axes in first.layout):
        raise refusal(function, "appending images whose spatial axes were merged has no exact rule")
    extents = tuple(max(column) for column in zip(*(batch.extents for batch in batches), strict=True))
    canvases = []
    for batch in batches:
        pads = [extents[axes[0]] - batch.extents[axes[0]] if axes else 0 for axes in reversed(batch.layout)]
        canvases.append(functional.pad(batch.settled(), [pad for after in pads for pad in (0, after)]))
    columns = zip(*(batch.lengths for batch in batches), strict=True)
    lengths = tuple(Length(tuple(value for length in column for value in length.values)) for column in columns)
    known = min(max(batch.padding, Padding.FINITE) for batch in batches)
    return RaggedBatch.laid_out(torch.cat(canvases), lengths, known, first.layout, extents)


def _beside(function: Function, batches: Sequence[RaggedBatch], place: int) -> RaggedBatch | Tensor:
    if torch.compiler.is_compiling():
        raise refusal(function, "joining images along space works on each by itself, which cannot be compiled")
    if any(batch.layout != batches[0].layout or len(batch) != len(batches[0]) for batch in batches):
        raise refusal(function, "its ragged batches have their axes in different orders, or hold other images")
    images = zip(*(images_of(batch) for batch in batches), strict=True)
    ragged = [number for number, axes in enumerate(batches[0].layout) if axes]
    return lay_alone([torch.cat(pieces, place) for pieces in images], ragged)


@register_rule(
    torch.split, Tensor.split, torch.split_with_sizes, Tensor.split_with_sizes, torch.chunk, Tensor.chunk,
    torch.tensor_split, Tensor.tensor_split, torch.unbind, Tensor.unbind, any_layout=True,
)  # fmt: skip
def pieces(function: Function, input: RaggedBatch, *args: Any, **kwargs: Any) -> Any:
    """Cut a plain axis into views: (N, C, H, W) -> several (N, C', H, W); unbind drops the axis."""
    unbinds = function in (torch.unbind, Tensor.unbind)
    where = 0 if unbinds else 1
    dim = kwargs.get("dim", args[where] if len(args) > where else 0)
    place = axis_of(dim, input.dim())
    if place == 0 and unbinds:
        return tuple(input.unbind())
    if place == 0:
        raise refusal(function, "it would divide the images among batches; x[i:j] takes some of them")
    if input.layout[place]:
        raise refusal(function, f"axis {place} is space, which is not the same length in every image")
    canvases = function(shared_canvas(input), *args, **kwargs)
    known = view_padding(input)
    if not unbinds:
        return type(canvases)([input.with_canvas(canvas, known) for canvas in canvases])
    layout = (*input.layout[:place], *input.layout[place + 1 :])
    return tuple(RaggedBatch.laid_out(c, input.lengths, known, layout, input.extents) for c in canvases)
