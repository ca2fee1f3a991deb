"""Indices: channels by anything, space by slices, images by an int or a slice."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.pixels.operands import common_extents, cropped_canvas
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.axes import (
    as_copied_view,
    axis_of,
    images_of,
    lay_alone,
    relaid,
    shared_canvas,
    view_padding,
)

__all__: list[str] = []

Function = Callable[..., Any]


@register_rule(torch.narrow, Tensor.narrow, any_layout=True)
def narrow(function: Function, input: RaggedBatch, dim: int, start: Any, length: Any) -> Any:
    """Take a part of a plain axis, or the same part of every image's space."""
    place = axis_of(dim, input.dim())
    index: list[Any] = [slice(None)] * input.dim()
    index[place] = slice(start, start + length)
    if input.layout[place]:
        return indexed(function, input, tuple(index), whole=True)
    return indexed(function, input, tuple(index))


@register_rule(torch.select, Tensor.select, any_layout=True)
def select(function: Function, input: RaggedBatch, dim: int, index: int) -> Any:
    """Take one entry of a plain axis, or the one pixel of an axis of space."""
    return indexed(function, input, ((slice(None),) * axis_of(dim, input.dim()) + (index,)))


@register_rule(torch.index_select, Tensor.index_select, any_layout=True)
def index_select(function: Function, input: RaggedBatch, dim: int, index: Tensor) -> RaggedBatch:
    """Take entries of a plain axis."""
    place = axis_of(dim, input.dim())
    if input.layout[place] or place == 0:
        raise refusal(function, f"it is exact along channels only, not along axis {place}")
    return input.with_canvas(torch.index_select(input.canvas, place, index), input.padding)


@register_rule(Tensor.__getitem__, any_layout=True)
def getitem(function: Function, input: RaggedBatch, index: Any) -> Any:
    """Index: channels by anything, space by slices, images by an int or a slice."""
    return indexed(function, input, index if isinstance(index, tuple) else (index,))


@register_rule(Tensor.__setitem__, any_layout=True)
def setitem(function: Function, input: RaggedBatch, index: Any, value: Any) -> None:
    """Write a number, or a batch of the same sizes, to channels of every image: ``x[:, a:b] = y``."""
    spelled = _spelled_out(function, input, index if isinstance(index, tuple) else (index,))
    if any(item is None for item in spelled):
        raise refusal(function, "writing is exact for slices of channels only")
    for place, (item, axes) in enumerate(zip(spelled, input.layout, strict=True)):
        if (place == 0 or axes) and not _is_full(item):
            raise refusal(function, "writing to some images or to a part of space has no exact rule")
        if not isinstance(item, slice) and not (isinstance(item, int) and not isinstance(value, RaggedBatch)):
            raise refusal(function, "writing is exact for slices of channels only")
    if isinstance(value, Tensor) and value.dim() > 0:
        raise refusal(function, "writing a plain tensor has no exact rule; numbers and ragged batches have")
    input.require_own_memory()
    known = min(max(input.padding, Padding.FINITE), _padding_of(value))
    canvas = input.settled()
    if isinstance(value, RaggedBatch):
        # Both canvases are cropped: the same images may lie on larger or smaller ones.
        part = input.with_canvas(canvas[tuple(spelled)], Padding.FINITE)
        extents = common_extents(function, [part, value])
        target = cropped_canvas(function, part.canvas, part, input.lengths, extents)
        target.copy_(cropped_canvas(function, value.settled(), value, input.lengths, extents).expand_as(target))
    else:
        canvas[tuple(spelled)] = value
    input.replace_canvas(canvas, known)


def _padding_of(value: Any) -> Padding:
    return max(value.padding, Padding.FINITE) if isinstance(value, RaggedBatch) else Padding.FINITE


def _is_full(item: Any) -> bool:
    """Whether an index takes the whole of its axis; compared part by part, for parts may be `Length`s."""
    return isinstance(item, slice) and item.start is None and item.stop is None and item.step is None


def _spelled_out(function: Function, input: RaggedBatch, index: tuple[Any, ...]) -> list[Any]:
    """Return an index with one entry for each axis (and each None), `...` and what was left out spelled out."""
    items = list(index)
    num_axes = sum(item is not None and item is not Ellipsis for item in items)
    if num_axes > input.dim():
        raise IndexError(f"too many indices for tensor of dimension {input.dim()}")
    if any(isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) and item.dim() != 1 for item in items):
        raise refusal(function, "a mask takes other pixels in each image")
    places = [place for place, item in enumerate(items) if item is Ellipsis]
    place = places[0] if places else len(items)
    items[place : place + 1] = [slice(None)] * (input.dim() - num_axes)
    return items


def indexed(function: Function, input: RaggedBatch, index: tuple[Any, ...], whole: bool = False) -> Any:
    """Index a batch of any layout.

    Args:
        function: named in errors.
        input: of any layout.
        index: as Python passes it.
        whole: slices must lie within every image, as ``narrow`` has it.
    """
    items = _spelled_out(function, input, index)
    if not items or items[0] is None:
        raise refusal(function, "a new axis would stand in front, and the first must stay that of the images")
    if not _is_full(items[0]):
        return _some_images(function, input, items)
    layout: list[tuple[int, ...]] = []
    lengths, extents = list(input.lengths), list(input.extents)
    canvas_index: list[Any] = []
    axes_of = iter(input.layout)
    num_gathers, uncovers = 0, False
    for item in items:
        axes = () if item is None else next(axes_of)
        if not axes:
            item, keeps = _plain_item(function, item)
            num_gathers += isinstance(item, Tensor)
            layout += [()] * keeps
        elif isinstance(item, slice) and not _is_full(item):
            cut = _cut(input, axes, item, whole)
            if cut is None:
                return _each(function, input, items)
            item, lengths[axes[0]], extents[axes[0]] = cut
            uncovers = uncovers or _uncovers(item, input.extents[axes[0]], lengths[axes[0]], input.lengths[axes[0]])
            layout.append(axes)
        elif isinstance(item, slice):
            layout.append(axes)
        elif isinstance(item, int) and all(lengths[axis].is_one for axis in axes) and item in (0, -1):
            item = 0
        elif isinstance(item, int) and len(axes) == 1 and _is_in_all(lengths[axes[0]], item):
            pass
        else:
            return _each(function, input, items)
        canvas_index.append(item)
    if num_gathers and (num_gathers > 1 or any(item is None or isinstance(item, int) for item in canvas_index)):
        raise refusal(function, "lists of indices are exact for one axis of channels alone")
    gathered = input.canvas if num_gathers else shared_canvas(input)
    # What was real may lie in the padding now: it must not be cleared.
    fills = all(_fills(length, extent) for length, extent in zip(lengths, extents, strict=True))
    padding = Padding.BORROWED if uncovers and not fills else view_padding(input)
    return relaid(gathered[tuple(canvas_index)], layout, lengths, extents, padding)


def _is_in_all(length: Length, place: int) -> bool:
    """Whether every image has a pixel at ``place``, counted from the front."""
    return length.known is not None and 0 <= place < min(length.known)


def _fills(length: Length, extent: int) -> bool:
    return length.known is not None and length.known.count(extent) == len(length.known)


def _plain_item(function: Function, item: Any) -> tuple[Any, bool]:
    """Return an index into a plain axis, and whether the axis stays."""
    if isinstance(item, Length):
        item = int(item)
    if isinstance(item, list | tuple | range):
        item = torch.tensor(item)
    if isinstance(item, Tensor) and item.dim() == 0 and item.dtype != torch.bool:
        item = int(item)
    if isinstance(item, slice):
        return slice(*(None if part is None else int(part) for part in (item.start, item.stop, item.step))), True
    if item is None or (isinstance(item, Tensor) and item.dim() == 1):
        return item, True
    if isinstance(item, int) and not isinstance(item, bool):
        return item, False
    raise refusal(function, f"an index of type {type(item).__name__} has no exact rule")


def _cut(input: RaggedBatch, axes: tuple[int, ...], item: slice, whole: bool) -> tuple[slice, Length, int] | None:
    """Cut space on the canvas: the slice, the images' new lengths and the canvas'; None where that is not exact."""
    length, extent = input.lengths[axes[0]], input.extents[axes[0]]
    start, stop = 0 if item.start is None else item.start, item.stop
    step = 1 if item.step is None else item.step
    known = length.known
    if len(axes) > 1 or known is None or isinstance(step, Length) or (isinstance(stop, Length) and stop.known is None):
        return None
    if sum(axes[0] in others for others in input.layout) > 1:
        return None
    if isinstance(start, Length) and len(set(start.values)) > 1:
        return None
    start = int(start)
    stops = stop.values if isinstance(stop, Length) else (stop,) * len(known)
    if start < 0 or len({None if end is None else end < 0 for end in stops}) > 1:
        return None
    ranges = [range(*slice(start, end, step).indices(int(value))) for end, value in zip(stops, known, strict=True)]
    if min(map(len, ranges)) < 1 or (whole and any(end > value for end, value in zip(stops, known, strict=True))):
        return None
    last = None if stops[0] is None else max(stops)
    kept = slice(start, last, step)
    return kept, Length(tuple(map(len, ranges))), len(range(*kept.indices(extent)))


def _uncovers(item: slice, extent: int, after: Length, before: Length) -> bool:
    """Whether a slice of a canvas holds more of an image than what is left of it."""
    start, stop, step = item.indices(extent)
    pairs = zip(after.values, before.values, strict=True)
    return any(len(range(start, min(stop, int(length)), step)) > kept for kept, length in pairs)


def _each(function: Function, input: RaggedBatch, items: Sequence[Any]) -> Any:
    """Index each image alone."""
    if torch.compiler.is_compiling():
        raise refusal(function, "indexing space works on each image by itself, which torch.compile cannot trace")
    if not all(item is None or isinstance(item, int | slice) for item in items):
        raise refusal(function, "space is indexed by numbers and slices only")
    plain = input.plain()
    if plain is not None and all(len(axes) < 2 for axes in input.layout):
        return _each_alike(function, input, plain, items)
    results = []
    for number, image in enumerate(images_of(input)):
        mine = tuple(slice(*(_of(part, number) for part in (i.start, i.stop, i.step))) if isinstance(i, slice) else i
                     for i in items)  # fmt: skip
        results.append(image[mine])
    places = _spatial_places(input, items)
    if any(0 in result.shape for result in results):
        raise refusal(function, _EMPTY)
    return as_copied_view(lay_alone(results, places))


_EMPTY = "it leaves nothing of an image, and a ragged batch has no empty images"


def _spatial_places(input: RaggedBatch, items: Sequence[Any]) -> list[int]:
    """Return which axes of the result of an index are space."""
    places, axes_of = [], iter(input.layout)
    place = 0
    for item in items:
        axes = () if item is None else next(axes_of)
        if isinstance(item, int):
            continue
        if axes:
            places.append(place)
        place += 1
    return places


def _each_alike(function: Function, input: RaggedBatch, plain: Tensor, items: Sequence[Any]) -> Any:
    """Index images of one size, which gives a view."""
    index = tuple(
        slice(*(None if part is None else int(part) for part in (i.start, i.stop, i.step)))
        if isinstance(i, slice)
        else i
        for i in items
    )
    result = plain[index]
    if 0 in result.shape:
        raise refusal(function, _EMPTY)
    places = _spatial_places(input, items)
    layout = [(places.index(place),) if place in places else () for place in range(result.dim())]
    extents = [result.shape[place] for place in places]
    lengths = [Length((extent,) * len(input)) for extent in extents]
    return relaid(result, layout, lengths, extents, min(view_padding(input), Padding.FINITE))


def _of(part: Any, number: int) -> Any:
    return part.values[number] if isinstance(part, Length) else part


def _some_images(function: Function, input: RaggedBatch, items: Sequence[Any]) -> Any:
    """Take one image, a plain tensor, or the images of a slice."""
    if torch.compiler.is_compiling():
        raise refusal(function, "taking some of the images has no exact rule in a compiled model")
    first = items[0]
    if isinstance(first, int):
        rest = tuple(items[1:])
        return input.unbind()[first][rest] if any(not _is_full(item) for item in rest) else input.unbind()[first]
    if not isinstance(first, slice):
        raise refusal(function, f"images are taken by an int or a slice, not by a {type(first).__name__}")
    numbers = range(*first.indices(len(input)))
    if not numbers:
        raise refusal(function, "it leaves no image, and a ragged batch has one or more")
    lengths = tuple(Length(tuple(length.values[n] for n in numbers)) for length in input.lengths)
    canvas = shared_canvas(input)[first]
    some = RaggedBatch.laid_out(canvas, lengths, view_padding(input), input.layout, input.extents)
    rest = (slice(None), *items[1:])
    return some if all(_is_full(item) for item in rest) else indexed(function, some, rest)
