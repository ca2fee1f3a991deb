"""Rearranging axes: permuted, merged, split, repeated. No pixel is computed; what changes is where space lies."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.group import RaggedGroup
from anysize.ragged.lengths import Length, same_lengths
from anysize.ragged.registry import refusal, register_rule, spellings
from anysize.ragged.shapes.axes import axis_of, relaid, shared_canvas, view_padding
from anysize.ragged.shapes.reshaping import dropped, flattened, inserted, operator_index, reshaped, unflattened

__all__: list[str] = []

Function = Callable[..., Any]


def _both(*names: str) -> list[Function]:
    """Return the functions and methods of these names, without their in-place forms."""
    places = (torch, Tensor)
    return [getattr(place, name) for name in names for place in places if hasattr(place, name)]


_ORDERS = _both("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint")


@register_rule(*_ORDERS, any_layout=True)
def permute(function: Function, input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch | Tensor:
    """Put axes in another order: any layout -> a view in another; the images stay in front."""
    # The function itself says what goes where: on a tensor whose axes are told by their lengths.
    axes = function(torch.empty(tuple(range(1, input.dim() + 1)), device="meta"), *args, **kwargs).shape
    order = [axis - 1 for axis in axes]
    if order[0] != 0:
        raise refusal(
            function, f"it would put axis {order[0]} in front, and the first axis must stay that of the images"
        )
    canvas = shared_canvas(input).permute(order)
    layout = [input.layout[axis] for axis in order]
    return relaid(canvas, layout, input.lengths, input.extents, view_padding(input))


def _sizes(sizes: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Return sizes that were passed one by one, as a sequence, or by name."""
    for name in ("size", "shape", "repeats"):
        if name in kwargs:
            sizes = (kwargs[name],)
    if len(sizes) == 1 and isinstance(sizes[0], list | tuple):
        return tuple(sizes[0])
    return tuple(sizes)


def _by_parts(work: Function, input: Any, sizes: tuple[Any, ...], function: Function) -> Any:
    """Call ``work`` on a batch, or on each part of a group, where the number of all images is that of the part."""
    if isinstance(input, RaggedBatch):
        return work(work, input, sizes, function)
    if not isinstance(input, RaggedGroup):
        raise refusal(function, "its first argument is a plain tensor")
    if sizes and isinstance(sizes[0], int) and sizes[0] == len(input):
        sizes = (None, *sizes[1:])
    return RaggedGroup.__torch_function__(work, (), (input, sizes, function))


@register_rule(*_both("reshape", "view"), any_layout=True, whole_group=True)
def reshape(function: Function, input: Any, *sizes: Any, **kwargs: Any) -> Any:
    """Merge and split axes: (N, C, H, W) -> (N, C, H*W), (N, groups, C // groups, H, W) and the like."""
    if "dtype" in kwargs or (len(sizes) == 1 and isinstance(sizes[0], torch.dtype)):
        raise refusal(function, "reading its memory as another dtype has no exact rule")
    return _by_parts(_reshape_part, input, _sizes(sizes, kwargs), function)


@register_rule(Tensor.view_as, Tensor.reshape_as, any_layout=True, whole_group=True)
def reshape_as(function: Function, input: Any, other: Any) -> Any:
    """Reshape to the shape of ``other``."""
    return _by_parts(_reshape_part, input, tuple(other.shape), _METHODS[function])


_METHODS = {Tensor.view_as: Tensor.view, Tensor.reshape_as: Tensor.reshape}


def _reshape_part(_: Function, input: RaggedBatch, sizes: tuple[Any, ...], function: Function) -> RaggedBatch | Tensor:
    return reshaped(function, input, sizes)


@register_rule(*_both("flatten"), any_layout=True)
def flatten(function: Function, input: RaggedBatch, start_dim: int = 0, end_dim: int = -1) -> RaggedBatch | Tensor:
    """Merge axes: (N, C, H, W) -> (N, C, H*W) with ``start_dim=2``; to (N, C*H*W) where all images agree in size."""
    return flattened(function, input, axis_of(start_dim, input.dim()), axis_of(end_dim, input.dim()))


@register_rule(*_both("unflatten"), any_layout=True)
def unflatten(function: Function, input: RaggedBatch, dim: int, sizes: Any) -> RaggedBatch | Tensor:
    """Split an axis: (N, C, L) -> (N, C, H, W), (N, groups, C // groups, L) and the like."""
    place = axis_of(dim, input.dim())
    if place == 0:
        raise refusal(function, f"its first axis must stay that of the {len(input)} images")
    return unflattened(function, input, place, sizes)


@register_rule(*_both("squeeze"), any_layout=True)
def squeeze(function: Function, input: RaggedBatch, dim: Any = None) -> RaggedBatch | Tensor:
    """Drop axes of length 1; images of one pixel become a plain (N, C)."""
    if dim is None and len(input) == 1:
        raise refusal(function, "without an axis it would drop that of the images too, for there is one image")
    given = range(1, input.dim()) if dim is None else dim if isinstance(dim, list | tuple) else [dim]
    dims = [axis_of(axis, input.dim()) for axis in given]
    if 0 in dims and len(input) == 1:
        raise refusal(function, "its first axis must stay that of the images")
    return dropped(function, input, [axis for axis in dims if axis != 0])


@register_rule(*_both("unsqueeze"), any_layout=True)
def unsqueeze(function: Function, input: RaggedBatch, dim: int) -> RaggedBatch:
    """Insert an axis of length 1."""
    place = axis_of(dim, input.dim() + 1)
    if place == 0:
        raise refusal(function, "its first axis must stay that of the images")
    return inserted(input, place)


@register_rule(Tensor.expand, any_layout=True, whole_group=True)
def expand(function: Function, input: Any, *sizes: Any, **kwargs: Any) -> Any:
    """Stretch axes of length 1: images of one pixel to `Length`s, (N, C, 1, 1) -> (N, C, H, W)."""
    return _by_parts(_expand_part, input, _sizes(sizes, {k: v for k, v in kwargs.items() if k == "size"}), function)


def _expand_part(_: Function, input: RaggedBatch, sizes: tuple[Any, ...], function: Function) -> RaggedBatch:
    if len(sizes) != input.dim():
        raise refusal(function, "it would put new axes in front, and the first axis must stay that of the images")
    if sizes[0] not in (None, -1, len(input)):
        raise refusal(function, f"its first axis must stay that of the {len(input)} images")
    canvas = input.canvas
    lengths, extents = list(input.lengths), list(input.extents)
    wanted = [-1]
    for place, (axes, entry) in enumerate(zip(input.layout[1:], sizes[1:], strict=True), start=1):
        size = operator_index(entry)
        if not axes:
            wanted.append(size if isinstance(size, int) else int(size))
            continue
        keeps = isinstance(size, int) and size == -1
        if keeps or _is_length(input.shape[place], size):
            wanted.append(-1)
            continue
        if len(axes) > 1 or not lengths[axes[0]].is_one:
            raise refusal(function, f"axis {place} is not 1 long in every image, and cannot be stretched")
        length = size if isinstance(size, Length) else Length((size,) * len(input))
        limit = length.limit
        if limit is None:
            raise refusal(function, "in a compiled model it cannot know how large a canvas to make; use expand_as")
        canvas = canvas.narrow(place, 0, 1)
        lengths[axes[0]], extents[axes[0]] = length, limit
        wanted.append(extents[axes[0]])
    canvas = canvas.expand(wanted)
    return RaggedBatch.laid_out(canvas, tuple(lengths), Padding.BORROWED, input.layout, tuple(extents))


def _is_length(mine: Length, size: Any) -> bool:
    if isinstance(size, Length):  # images of one pixel are stretched to lengths that only the running graph knows
        return not (mine.is_one and size.known is None) and same_lengths([mine], [size])
    return mine.known is not None and all(value == size for value in mine.known)


register_rule(_reshape_part, any_layout=True)(_reshape_part)
register_rule(_expand_part, any_layout=True)(_expand_part)


@register_rule(Tensor.expand_as, any_layout=True, per_image_operands=True)
def expand_as(function: Function, input: Any, other: Any) -> Any:
    """Stretch images of one pixel, or a plain (N, C, 1, 1), to the sizes of ``other``."""
    if not isinstance(other, RaggedBatch):
        return _expand_part(_expand_part, input, tuple(other.shape), function)
    if input.dim() != other.dim():
        raise refusal(function, f"{input.dim()} axes are to be stretched to {other.dim()}; it is exact for as many")
    canvas, shape = (input.canvas if isinstance(input, RaggedBatch) else input), list(other.canvas.shape)
    for place, axes in enumerate(other.layout):
        if not axes:
            continue
        if isinstance(input, RaggedBatch):
            if input.layout != other.layout:
                raise refusal(function, "its ragged batches have their axes in different orders")
            if all(input.lengths[axis].is_one for axis in axes):
                canvas = canvas.narrow(place, 0, 1)
            elif not same_lengths([input.lengths[axis] for axis in axes], [other.lengths[axis] for axis in axes]):
                raise refusal(function, f"axis {place} is not 1 long in every image, and cannot be stretched")
            else:
                shape[place] = min(shape[place], canvas.shape[place])
                canvas = canvas.narrow(place, 0, shape[place])
        elif canvas.shape[place] != 1:
            raise refusal(
                function,
                f"its plain tensor of shape {tuple(canvas.shape)} varies over space; only one with length 1 there "
                "applies to images of mixed sizes",
            )
    extents = list(other.extents)
    for place, axes in enumerate(other.layout):
        if len(axes) == 1:
            extents[axes[0]] = shape[place]
        elif axes and shape[place] != other.canvas.shape[place]:
            raise refusal(function, "its ragged batches lie on canvases of different extents, with axes merged")
    canvas = canvas.expand(shape)
    return RaggedBatch.laid_out(canvas, other.lengths, Padding.BORROWED, other.layout, tuple(extents))


@register_rule(Tensor.repeat, *_both("tile"), any_layout=True)
def repeat(function: Function, input: RaggedBatch, *repeats: Any, **kwargs: Any) -> RaggedBatch:
    """Repeat along plain axes: (N, C, H, W) -> (N, k*C, H, W)."""
    counts = [operator_index(count) for count in _sizes(repeats, {**kwargs, **_named(kwargs)})]
    if len(counts) > input.dim() or (len(counts) < input.dim() and function is Tensor.repeat):
        raise refusal(function, "it would put new axes in front, and the first axis must stay that of the images")
    counts = [1] * (input.dim() - len(counts)) + counts
    for place, (axes, count) in enumerate(zip(input.layout, counts, strict=True)):
        if (axes or place == 0) and not (isinstance(count, int) and count == 1):
            raise refusal(function, f"it is exact along channels only, not along axis {place}")
    known = input.padding
    canvas = input.canvas.repeat(counts)
    return RaggedBatch.laid_out(canvas, input.lengths, known, input.layout, input.extents)


def _named(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"repeats": kwargs["dims"]} if "dims" in kwargs else {}


@register_rule(*_both("roll", "flip", "repeat_interleave"), any_layout=True)
def along_channels(function: Function, input: RaggedBatch, *args: Any, **kwargs: Any) -> RaggedBatch:
    """Move pixels along plain axes, in every pixel alike: (N, C, H, W) -> (N, C', H, W)."""
    names = ("dims",) if function in _both("flip") else ("_", "dims" if function in _both("roll") else "dim")
    given = dict(zip(names, args, strict=False)) | kwargs
    dims = given.get("dims", given.get("dim"))
    if function is Tensor.flip and args and isinstance(args[0], int):
        dims = args
    for dim in dims if isinstance(dims, list | tuple) else [dims]:
        if dim is None or input.layout[axis_of(dim, input.dim())] or axis_of(dim, input.dim()) == 0:
            raise refusal(function, f"it is exact along channels only, not along axis {dim}")
    canvas = function(input.settled(), *args, **kwargs)
    known = max(input.padding, Padding.FINITE)
    return RaggedBatch.laid_out(canvas, input.lengths, known, input.layout, input.extents)


@register_rule(*spellings("channel_shuffle"), *spellings("native_channel_shuffle"), any_layout=True)
def channel_shuffle(function: Function, input: RaggedBatch, groups: int) -> RaggedBatch:
    """Interleave groups of channels: (N, C, *spatial) -> the same."""
    if input.layout[1]:
        raise refusal(function, "its axis 1 must be the channels")
    return input.with_canvas(function(input.settled(), groups), max(input.padding, Padding.FINITE))


@register_rule(*_both("rot90"), any_layout=True)
def rot90(function: Function, *args: Any, **kwargs: Any) -> None:  # noqa: ARG001 - refused whatever it is given
    """Refuse: an image's far corner is not the canvas'."""
    raise refusal(function, "turned about the canvas, images of mixed sizes would leave their corner")
