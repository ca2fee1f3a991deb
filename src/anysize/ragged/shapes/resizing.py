"""Functions that give each image a size of its own: what sizes were asked for, and the slow, exact way."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.each import each_image
from anysize.ragged.lengths import Length
from anysize.ragged.registry import refusal

__all__ = ["extents_of", "resize_each", "wanted_lengths"]


def wanted_lengths(function: Callable[..., Any], batch: RaggedBatch, size: Any) -> tuple[Length, ...]:
    """Spell a size argument out, one length a spatial axis.

    Args:
        function: named in errors.
        batch: the input.
        size: a number or a `Length` for all axes, or a sequence with one an axis; None keeps an axis as it is.
    """
    axes = batch.spatial_axes
    wanted = list(size) if isinstance(size, list | tuple) else [size] * axes
    if len(wanted) != axes:
        raise refusal(function, f"its size {size} has {len(wanted)} entries for {axes} spatial axes")
    lengths = []
    for number, length in enumerate(wanted):
        if length is None:
            lengths.append(batch.lengths[number].with_limit(batch.extents[number]))
        else:
            lengths.append(length if isinstance(length, Length) else Length((int(length),) * len(batch)))
    return tuple(lengths)


def extents_of(function: Callable[..., Any], lengths: Sequence[Length]) -> tuple[int, ...]:
    """Return the extents of a canvas that holds images of the given lengths.

    Raises:
        UnsupportedOperatorError: while compiling, for a length of which no limit is known.
    """
    limits = [length.limit for length in lengths]
    if any(limit is None for limit in limits):
        raise refusal(
            function, "while compiling it is not known how large a canvas the result needs; take its size from x.shape"
        )
    return tuple(limit for limit in limits if limit is not None)


def resize_each(
    function: Callable[..., Any],
    batch: RaggedBatch,
    lengths: Sequence[Length],
    call: Callable[[Tensor, tuple[int, ...]], Tensor],
) -> RaggedBatch:
    """Apply ``call(images, size)`` to each image (1, C, *size) alone, or to all at once where they agree.

    Args:
        function: named in the refusal.
        batch: (N, C, *spatial).
        lengths: the wanted size of each image, handed to ``call``.
        call: returns a fresh tensor (B, C', *size'), whose size may be another.
    """
    if torch.compiler.is_compiling():
        return each_image(function, batch, lambda image, _: image)  # which refuses
    sizes = tuple(zip(*(length.values for length in lengths), strict=True))
    plain = batch.plain()
    if plain is None or sizes.count(sizes[0]) != len(sizes):
        return each_image(function, batch, lambda image, number: call(image, sizes[number]))
    result = call(plain, sizes[0])
    constant = tuple(Length((length,) * len(batch)) for length in result.shape[2:])
    return RaggedBatch.laid_out(result, constant, Padding.FINITE)
