"""Batches of any layout: spatial axes renumbered, images taken off a canvas and laid on one again."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.laying import lay_images, take_images
from anysize.ragged.layouts import Layout, spatial_view
from anysize.ragged.lengths import Length, lengths_of_sizes
from anysize.ragged.registry import refusal

__all__ = [
    "as_copied_view", "axis_of", "each_alone", "images_of", "lay_alone", "relaid", "shared_canvas", "view_padding",
]  # fmt: skip


def axis_of(dim: Any, axes: int) -> int:
    """Count an axis from the front.

    Raises:
        IndexError: there is no such axis.
    """
    if not -axes <= dim < axes:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-axes}, {axes - 1}], but got {dim})")
    return int(dim % axes)


def shared_canvas(batch: RaggedBatch) -> Tensor:
    """Return the canvas for a function that only moves views about: the view shares its memory.

    What is known of the view's padding is `view_padding`.
    """
    if not torch.compiler.is_compiling() and batch.padding is Padding.ZERO and batch.canvas.is_inference():
        # Nothing counts what is done in place to inference tensors: of two views, neither may rely on zeros.
        batch.replace_canvas(batch.canvas, Padding.FINITE)
    return batch.canvas


def view_padding(batch: RaggedBatch) -> Padding:
    """Return what is known of the padding of a view of a batch.

    Of memory that may be somebody else's an in-place operator would work on a copy, which the batch does not see.
    """
    return Padding.BORROWED if batch.padding <= Padding.UNKNOWN else batch.padding


def relaid(
    canvas: Tensor, layout: Sequence[tuple[int, ...]], lengths: Sequence[Length], extents: Sequence[int],
    padding: Padding,
) -> RaggedBatch | Tensor:  # fmt: skip
    """Make a batch of a rearranged canvas; a plain tensor where no spatial axis is left.

    Spatial axes are numbered by their first appearance, so (N, W, C, H) has the layout of (N, H, C, W): lengths and
    extents follow. Axes that the layout does not name are dropped.
    """
    numbers: list[int] = []
    for axes in layout:
        numbers += [axis for axis in axes if axis not in numbers]
    if not numbers:
        return canvas
    renumbered: Layout = tuple(tuple(numbers.index(axis) for axis in axes) for axes in layout)
    kept = tuple(lengths[axis] for axis in numbers)
    return RaggedBatch.laid_out(canvas, kept, padding, renumbered, tuple(extents[axis] for axis in numbers))


def images_of(batch: RaggedBatch) -> list[Tensor]:
    """Return the images (1, ...) with their axes as they stand in the batch; differentiable."""
    view = spatial_view(batch.canvas, batch.layout, batch.extents)
    if view is None:  # an axis stands twice
        return [image[None] for image in batch.unbind()]
    num_plain = batch.layout.count(()) - 1
    plain = iter(range(num_plain))
    order = [place for axes in batch.layout[1:] for place in ([num_plain + a for a in axes] or [next(plain)])]
    results = []
    for image, size in zip(take_images(view, batch.columns), batch.sizes, strict=True):
        image = image.permute(order)
        if any(len(axes) > 1 for axes in batch.layout):
            pairs = zip(batch.layout[1:], batch.canvas.shape[1:], strict=True)
            image = image.reshape([math.prod(size[axis] for axis in axes) if axes else n for axes, n in pairs])
        results.append(image[None])
    return results


def lay_alone(results: Sequence[Tensor], ragged: Sequence[int]) -> RaggedBatch | Tensor:
    """Lay images (1, ...) on a new canvas, with a spatial axis of its own for each place in ``ragged``.

    A plain tensor where none is.
    """
    if not ragged:
        return torch.cat(list(results))
    order = [place for place in range(1, results[0].dim()) if place not in ragged] + list(ragged)
    images = [result[0].permute([place - 1 for place in order]) for result in results]
    lengths = lengths_of_sizes([image.shape[-len(ragged) :] for image in images])
    extents = tuple(max(length.values) for length in lengths)
    canvas = lay_images(images, extents)
    back = [0] * len(order)
    for position, place in enumerate(order):
        back[place - 1] = position + 1
    layout = tuple((ragged.index(place),) if place in ragged else () for place in range(len(order) + 1))
    return relaid(canvas.permute(0, *back), layout, lengths, extents, Padding.ZERO)


def each_alone(
    function: Callable[..., Any], batch: RaggedBatch, call: Callable[[Tensor, int], Tensor], ragged: Sequence[int]
) -> RaggedBatch | Tensor:
    """Apply ``call(image, number)``, a view on tensors, to each image (1, ...) of a batch of any layout.

    The result is a copy: in-place operators on it, which should reach the batch, are refused.

    Args:
        function: named in the refusal.
        batch: of any layout.
        call: returns (1, ...).
        ragged: which axes of the results may differ from image to image.

    Raises:
        UnsupportedOperatorError: while compiling: a graph cannot be of each image's size.
    """
    if torch.compiler.is_compiling():
        raise refusal(function, "it works on each image by itself, which torch.compile cannot trace")
    return as_copied_view(lay_alone([call(image, number) for number, image in enumerate(images_of(batch))], ragged))


def as_copied_view(result: RaggedBatch | Tensor) -> RaggedBatch | Tensor:
    """Mark a copy that stands for a view, so that nothing works on it in place: that would not reach the original."""
    return result.with_canvas(result.canvas, Padding.BORROWED) if isinstance(result, RaggedBatch) else result
