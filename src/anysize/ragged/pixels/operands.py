"""Several operands of one pixelwise function brought onto one canvas: batches, plain tensors, lengths and numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anysize.errors import MixedSizesError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length, same_lengths
from anysize.ragged.registry import refusal
from anysize.sizes import format_size

__all__ = ["Aligned", "align", "common_extents", "common_lengths", "cropped_canvas"]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Operands of one pixelwise function, all of them ordinary tensors or numbers that broadcast."""

    values: list[Any]
    """One for each operand, in their order."""
    padding: list[Padding]
    """What is known of the padding of each ragged operand; FINITE for the others."""
    like: RaggedBatch
    """A batch whose layout the result has."""
    lengths: tuple[Length, ...]
    """The true lengths of the result."""
    extents: tuple[int, ...]
    """The extents of the result's canvas."""

    def batch(self, canvas: Tensor, padding: Padding) -> RaggedBatch:
        """Make the result's batch of its canvas."""
        result = RaggedBatch.laid_out(canvas, self.lengths, padding, self.like.layout, self.extents)
        return result.kept_finite()


def align(function: Callable[..., Any], operands: Sequence[Any], fill: float | None = None) -> Aligned:
    """Bring the operands of a pixelwise function onto one canvas.

    Batches must hold the same images at the same sizes; one that is a single pixel along an axis applies to all of it.

    Args:
        function: named in errors.
        operands: batches (one or more), tensors, lengths, numbers.
        fill: a value for the padding of batches, in a copy; by default it is only made finite.

    Raises:
        MixedSizesError: batches of different images, or of other sizes.
        UnsupportedOperatorError: batches with other axes, or a plain tensor that varies over space.
    """
    if fill is None and not torch.compiler.is_compiling():
        alike = _align_alike(operands)
        if alike is not None:
            return alike
    batches = [value for value in operands if isinstance(value, RaggedBatch)]
    # The result is of the size of those that are not single pixels.
    varied = [batch for batch in batches if not all(length.is_one for length in batch.lengths)]
    like = (varied or batches)[0]
    lengths = like.lengths
    for batch in batches:
        if batch is not like:
            lengths = common_lengths(function, lengths, batch, like)
    extents = tuple(
        min(batch.extents[axis] for batch in batches if batch.lengths[axis].is_one == length.is_one)
        for axis, length in enumerate(lengths)
    )
    values = [_value(function, like, lengths, extents, value, fill) for value in operands]
    padding = [_known(value, lengths) for value in operands]
    return Aligned(values, padding, like, lengths, extents)


def _align_alike(operands: Sequence[Any]) -> Aligned | None:
    """The short way, for batches on one kind of canvas and numbers, which is most of what networks add and multiply."""
    like: RaggedBatch | None = None
    for value in operands:
        if isinstance(value, RaggedBatch):
            like = value if like is None else like
            if value.extents != like.extents or value.layout != like.layout or len(value) != len(like):
                return None
            if value.lengths is not like.lengths and value.columns != like.columns:
                return None
        elif not isinstance(value, int | float):
            return None
    if like is None:
        return None
    values = [value.settled() if isinstance(value, RaggedBatch) else value for value in operands]
    padding = [
        max(value.padding, Padding.FINITE) if isinstance(value, RaggedBatch) else Padding.FINITE for value in operands
    ]
    return Aligned(values, padding, like, like.lengths, like.extents)


def _known(value: Any, lengths: Sequence[Length]) -> Padding:
    """What is known of an operand's padding; one that is a single pixel along an axis brings its value there too."""
    if not isinstance(value, RaggedBatch):
        return Padding.FINITE
    if any(its.is_one and not length.is_one for its, length in zip(value.lengths, lengths, strict=True)):
        return Padding.FINITE
    return max(value.padding, Padding.FINITE)


def common_extents(function: Callable[..., Any], batches: Sequence[RaggedBatch]) -> tuple[int, ...]:
    """Return the extents to which the canvases of batches of the same images at the same sizes can be cropped.

    Raises:
        MixedSizesError: other images, or images of other sizes.
        UnsupportedOperatorError: axes in other orders.
    """
    first = batches[0]
    for batch in batches[1:]:
        common_lengths(function, first.lengths, batch, first)
        pairs = list(zip(first.lengths, batch.lengths, strict=True))
        if any(mine.is_one != its.is_one for mine, its in pairs):  # nothing is stretched here
            raise _other_sizes(function, pairs)
    return tuple(min(column) for column in zip(*(batch.extents for batch in batches), strict=True))


def common_lengths(
    function: Callable[..., Any], lengths: tuple[Length, ...], batch: RaggedBatch, like: RaggedBatch
) -> tuple[Length, ...]:
    """Return the lengths of two batches of the same images; one pixel along an axis applies to all of it.

    Raises:
        MixedSizesError: other images, or images of other sizes.
        UnsupportedOperatorError: axes in other orders.
    """
    if len(batch) != len(like):
        raise MixedSizesError(
            f"{function.__name__} was given ragged batches of {len(like)} and of {len(batch)} images: both must "
            "hold the same images",
            hint="a value for each image or for all goes beside a batch as a plain tensor (N, C, 1, 1)",
        )
    if batch.layout != like.layout:
        raise refusal(function, "its ragged batches have their axes in different orders")
    pairs = list(zip(lengths, batch.lengths, strict=True))
    compared = [(mine, its) for mine, its in pairs if not mine.is_one and not its.is_one]
    if not same_lengths([mine for mine, _ in compared], [its for _, its in compared]):
        raise _other_sizes(function, pairs)
    return tuple(its if mine.is_one else mine for mine, its in pairs)


def _other_sizes(function: Callable[..., Any], pairs: Sequence[tuple[Length, Length]]) -> MixedSizesError:
    mine, its = (tuple(zip(*(length.values for length in axes), strict=True)) for axes in zip(*pairs, strict=True))
    index = next(i for i, (a, b) in enumerate(zip(mine, its, strict=True)) if a != b)
    return MixedSizesError(
        f"{function.__name__} was given two ragged batches whose image {index} is {format_size(mine[index])} in "
        f"one and {format_size(its[index])} in the other: each image must have one size in both",
        hint="resize one to the other's sizes first",
    )


def _value(
    function: Callable[..., Any],
    like: RaggedBatch,
    lengths: tuple[Length, ...],
    extents: tuple[int, ...],
    value: Any,
    fill: float | None,
) -> Any:
    if isinstance(value, RaggedBatch):
        canvas = value.settled() if fill is None else value.masked(fill)
        return cropped_canvas(function, canvas, value, lengths, extents)
    if isinstance(value, Length):  # one number an image
        return _numbers(function, like, value).reshape(-1, *(1,) * (like.dim() - 1))
    if isinstance(value, Tensor) and value.dim() > 0:
        places = like.layout[max(0, like.dim() - value.dim()) :]
        many_images = value.dim() == like.dim() and value.shape[0] not in (1, len(like))
        if (
            value.dim() > like.dim()
            or many_images
            or any(axes and length != 1 for axes, length in zip(places, value.shape, strict=True))
        ):
            raise refusal(
                function,
                f"the other operand is a plain tensor of shape {tuple(value.shape)}, which varies over space; "
                f"only tensors with length 1 in the {_spatial_places(like)} axes apply to images of mixed sizes",
            )
    return value


def _numbers(function: Callable[..., Any], like: RaggedBatch, value: Length) -> Tensor:
    """Return a length as a tensor (N,) of the dtype in which a number beside ``like`` would count."""
    known = value.known
    if like.is_floating_point():
        if like.dtype == torch.float16 and known is not None and max(map(abs, known)) > torch.finfo(like.dtype).max:
            raise refusal(function, f"a length of {max(known, key=abs)} is infinite in float16; compute in float32")
        return value.tensor(like.device, like.dtype)
    numbers = value.tensor(like.device)
    return numbers if numbers.is_floating_point() or like.dtype == torch.bool else numbers.to(like.dtype)


def _spatial_places(like: RaggedBatch) -> str:
    if like.is_canonical:
        return f"last {like.spatial_axes}"
    return f"spatial ({', '.join(str(place) for place, axes in enumerate(like.layout) if axes)})"


def cropped_canvas(
    function: Callable[..., Any],
    canvas: Tensor,
    batch: RaggedBatch,
    lengths: tuple[Length, ...],
    extents: tuple[int, ...],
) -> Tensor:
    """Crop a canvas to the common extents: equal sizes may have come by paths that left canvases of different ones."""
    for place, axes in enumerate(batch.layout):
        wanted = [1 if batch.lengths[axis].is_one and not lengths[axis].is_one else extents[axis] for axis in axes]
        if [batch.extents[axis] for axis in axes] == wanted:
            continue
        if len(axes) > 1:
            raise refusal(function, "its ragged batches lie on canvases of different extents, with axes merged")
        canvas = canvas.narrow(place, 0, wanted[0])
    return canvas
