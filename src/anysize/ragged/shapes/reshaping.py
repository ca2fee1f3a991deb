"""Reshaping a ragged batch: an algebra on shapes whose axes are numbers and per-image lengths.

Each axis is taken apart into *atoms*: a number (channels), or a `Space`, one spatial axis. In row-major order two
shapes hold the same image exactly if their atoms are the same: (N, C, H, W) -> (N, C // 2, 2, H * W) divides the
number C and merges two neighbouring spaces, and the canvas, with its extents for the lengths, is reshaped alike.
What would mix space with channels within an image is done to each image alone, or refused.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.layouts import Layout
from anysize.ragged.lengths import Length
from anysize.ragged.registry import refusal
from anysize.ragged.shapes.atoms import Atom, Axes, Space, Spaces, match_sizes
from anysize.ragged.shapes.axes import each_alone, relaid, shared_canvas, view_padding

__all__ = ["dropped", "flattened", "inserted", "reshaped", "unflattened"]

Function = Callable[..., Any]


def _atoms(batch: RaggedBatch) -> Axes:
    return [
        [Space(axis) for axis in axes] if axes else [int(length)]
        for axes, length in zip(batch.layout[1:], batch.canvas.shape[1:], strict=True)
    ]


def reshaped(function: Function, batch: RaggedBatch, sizes: Sequence[Any]) -> RaggedBatch | Tensor:
    """Reshape to ``sizes``: ints, one -1, `Length`s; None stands for the images.

    Raises:
        UnsupportedOperatorError: images would be mixed with each other, or flattened to vectors of many lengths.
        ImageSizeError: a length is split by a number that does not divide it.
    """
    first, *rest = [operator_index(size) for size in sizes] or [1]
    if first is not None and not isinstance(first, Length) and first not in (-1, len(batch)):
        raise refusal(function, f"its first axis would be {first} long, and must stay that of the {len(batch)} images")
    if any(isinstance(size, int) and size == -1 for size in rest) and isinstance(first, int) and first == -1:
        raise RuntimeError("only one dimension can be inferred")
    # Axes of length 1 say which is meant where there are several; then they may be in the way; then so may space.
    ways: list[Callable[[Spaces, list[Atom]], list[Atom]]] = [_as_they_are, _without_ones]
    if torch.compiler.is_compiling() or not any(isinstance(size, Length) and not size.is_one for size in rest):
        ways.append(_constants_plain)  # not where lengths are wanted: a group's other parts will have them
    for prepare in ways:
        spaces = Spaces(batch)
        atoms = prepare(spaces, [atom for axis in _atoms(batch) for atom in axis])
        matched = match_sizes(function, batch, spaces, atoms, rest)
        result = None if matched is None else _arranged(function, batch, spaces, matched)
        if result is not None:
            return result
    return _scrambled(function, batch, rest)


def _as_they_are(_: Spaces, atoms: list[Atom]) -> list[Atom]:
    return atoms


def _without_ones(_: Spaces, atoms: list[Atom]) -> list[Atom]:
    return [atom for atom in atoms if isinstance(atom, Space) or atom != 1]


def operator_index(size: Any) -> Any:
    """Return a size as an int, or as it is if it is a `Length` or stands for the images (None)."""
    return size if size is None or isinstance(size, Length) else int(size)


def flattened(function: Function, batch: RaggedBatch, start: int, end: int) -> RaggedBatch | Tensor:
    """Merge the axes from ``start`` to ``end``, both included."""
    if start == 0 and end > 0:
        raise refusal(function, f"its first axis must stay that of the {len(batch)} images")

    def grouped(axes: Axes) -> Axes:
        return [*axes[: start - 1], [atom for axis in axes[start - 1 : end] for atom in axis], *axes[end:]]

    if start == end:
        return batch
    spaces = Spaces(batch)
    result = _arranged(function, batch, spaces, grouped(_atoms(batch)))
    if result is None:
        spaces = Spaces(batch)
        plain = [_constants_plain(spaces, axis) for axis in _atoms(batch)]
        result = _arranged(function, batch, spaces, grouped(plain))
    if result is not None:
        return result
    if start == 1 and end == batch.dim() - 1:
        raise _needs_one_size(function)
    merged = [*batch.layout[:start], sum(batch.layout[start : end + 1], ()), *batch.layout[end + 1 :]]
    ragged = [place for place, axes in enumerate(merged) if axes]
    return each_alone(function, batch, lambda image, _: image.flatten(start, end), ragged)


def unflattened(function: Function, batch: RaggedBatch, dim: int, sizes: Sequence[Any]) -> RaggedBatch | Tensor:
    """Split axis ``dim`` into ``sizes``."""
    shape = batch.shape
    return reshaped(function, batch, [None, *shape[1:dim], *sizes, *shape[dim + 1 :]])


def inserted(batch: RaggedBatch, dim: int) -> RaggedBatch:
    """Insert an axis of length 1 before ``dim``."""
    canvas = shared_canvas(batch).unsqueeze(dim)
    layout: Layout = (*batch.layout[:dim], (), *batch.layout[dim:])
    return RaggedBatch.laid_out(canvas, batch.lengths, view_padding(batch), layout, batch.extents)


def dropped(function: Function, batch: RaggedBatch, dims: Sequence[int]) -> RaggedBatch | Tensor:
    """Drop those of the axes ``dims`` whose length is 1."""
    axes = _atoms(batch)
    spaces = Spaces(batch)
    ones = []
    for dim in dims:
        space = batch.layout[dim]
        if space:
            known = [spaces.lengths[axis].known for axis in space]
            if any(column is None or (1 in column and column.count(1) < len(column)) for column in known):
                raise refusal(function, f"axis {dim} is 1 long in some images and longer in others")
        if all(spaces.is_one(atom) for atom in axes[dim - 1]):
            ones.append(dim)
    kept = [axis for number, axis in enumerate(axes) if number + 1 not in ones]
    result = _arranged(function, batch, spaces, kept)
    assert result is not None  # noqa: S101 - nothing was merged
    return result


def _needs_one_size(function: Function) -> Exception:
    return refusal(
        function,
        "flattening space into (N, C*H*W) needs images of one size, and these differ; pool each to one size first "
        "(nn.AdaptiveAvgPool2d), or keep space apart with flatten(2)",
    )


def _constants_plain(spaces: Spaces, atoms: list[Atom]) -> list[Atom]:
    """Replace spaces whose length all images share by that number."""
    result: list[Atom] = []
    for atom in atoms:
        constant = spaces.constant(atom) if isinstance(atom, Space) else None
        if isinstance(atom, Space) and constant is not None:
            spaces.crops[atom.axis] = constant
            if constant != 1:
                result.append(constant)
        else:
            result.append(atom)
    return result


def _arranged(function: Function, batch: RaggedBatch, spaces: Spaces, axes: Axes) -> RaggedBatch | Tensor | None:
    """Reshape the canvas to axes of the given atoms; None where one of them mixes numbers and space."""
    kept = {atom.axis for axis in axes for atom in axis if isinstance(atom, Space)}
    spacious = [axis for axis in axes if any(isinstance(atom, Space) for atom in axis)]
    pure = all(len(axis) == 1 for axis in spacious) and len(kept) >= len(batch.lengths)
    if not pure and all(length.is_one for length in batch.lengths):
        # Nothing of space is left to keep apart: an ordinary tensor.
        axes = [[atom for atom in axis if not isinstance(atom, Space)] for axis in axes]
        kept = set()
    layout: list[tuple[int, ...]] = [()]
    shape = [len(batch)]
    for axis in axes:
        places = _places(spaces, axis)
        if places is None:
            return None
        layout.append(places)
        numbers = math.prod([atom for atom in axis if isinstance(atom, int)])
        shape.append(math.prod([spaces.extents[place] for place in places]) if places else numbers)
    for number, length in enumerate(batch.lengths):
        if length.is_one and not any(number in places for places in layout):
            spaces.crops[number] = 1
    whole = shared_canvas(batch)
    canvas = _cropped(whole, batch, spaces.crops)
    result = _viewed(canvas, shape) if function is Tensor.view else canvas.reshape(shape)
    padding = view_padding(batch)
    if canvas is not whole and not torch.compiler.is_compiling() and result.data_ptr() != canvas.data_ptr():
        padding = Padding.BORROWED  # a copy only for the crop's sake
    return relaid(result, layout, spaces.lengths, spaces.extents, padding)


def _places(spaces: Spaces, axis: list[Atom]) -> tuple[int, ...] | None:
    """Return which spaces an axis of these atoms runs over, () for a plain one; None where it mixes them."""
    places = tuple(atom.axis for atom in axis if isinstance(atom, Space))
    numbers = math.prod([atom for atom in axis if isinstance(atom, int)])
    if numbers == 1 or not places:
        return places
    if all(spaces.lengths[place].is_one for place in places):
        return ()
    if len(places) == 1 and isinstance(axis[0], Space):
        place = places[0]
        return (spaces.new(spaces.lengths[place] * numbers, spaces.extents[place] * numbers).axis,)
    return None


def _cropped(canvas: Tensor, batch: RaggedBatch, crops: dict[int, int]) -> Tensor:
    """Crop spatial axes of a canvas of any layout; merged ones are taken apart."""
    if not crops or all(batch.extents[axis] == extent for axis, extent in crops.items()):
        return canvas
    place = 0
    for axes in batch.layout:
        if len(axes) > 1:
            canvas = canvas.unflatten(place, [batch.extents[axis] for axis in axes])  # type: ignore[no-untyped-call]
        for axis in axes:
            canvas = canvas.narrow(place, 0, crops.get(axis, batch.extents[axis]))
            place += 1
        place += not axes
    return canvas


def _viewed(canvas: Tensor, shape: list[int]) -> Tensor:
    """View a canvas, copying only where it cannot be viewed because it was cropped; else torch's own error."""
    if torch.compiler.is_compiling():
        return canvas.reshape(shape)
    try:
        return canvas.view(shape)
    except RuntimeError:
        strides = canvas.stride()
        order = sorted(range(canvas.dim()), key=lambda axis: (-strides[axis], axis))
        dense = torch.empty([canvas.shape[axis] for axis in order], device="meta")
        dense.permute([order.index(axis) for axis in range(canvas.dim())]).view(shape)
        return canvas.reshape(shape)


def _scrambled(function: Function, batch: RaggedBatch, sizes: Sequence[Any]) -> RaggedBatch | Tensor:
    """Reshape each image alone: the row-major order of its numbers is read anew, space and channels mixed."""
    ragged = [
        number
        for number, size in enumerate(sizes, start=1)
        if isinstance(size, Length) or (isinstance(size, int) and size == -1)
    ]
    if not ragged or not sizes:
        raise refusal(function, f"images of mixed sizes do not fit a shape of ({', '.join(['N', *map(str, sizes)])})")
    if len(sizes) == 1:
        raise _needs_one_size(function)

    def call(image: Tensor, number: int) -> Tensor:
        return image.reshape(1, *(size.values[number] if isinstance(size, Length) else size for size in sizes))

    return each_alone(function, batch, call, ragged)
