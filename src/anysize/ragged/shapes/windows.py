"""Sliding windows on a ragged batch: the output size of each image, and the error for one that is too small."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from anysize.errors import ImageSizeError
from anysize.ragged.batch import RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.registry import calling_module
from anysize.sizes import Window, format_size

__all__ = ["output_lengths", "per_axis", "require_pixels", "too_small"]

_AXES = {1: "length", 2: "height x width", 3: "depth x height x width"}


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """Spell an operator's int-or-sequence argument out, one integer a spatial axis."""
    if isinstance(value, Sequence):
        return tuple(int(item) for item in value) * (axes if len(value) == 1 else 1)
    return (int(value),) * axes


def output_lengths(function: Callable[..., Any], batch: RaggedBatch, windows: Sequence[Window]) -> tuple[Length, ...]:
    """Return the true lengths after windows of the given kinds, one kind a spatial axis.

    Raises:
        ImageSizeError: an image is too small to yield one output. While compiling nobody knows: the graph checks it
            when it runs.
    """
    if torch.compiler.is_compiling():
        lengths = tuple(length.map(window.output) for length, window in zip(batch.lengths, windows, strict=True))
    else:
        columns = (_outputs(window, column) for window, column in zip(windows, batch.columns, strict=True))
        lengths = tuple(Length(column) for column in columns)
    require_pixels(function, batch, lengths, lambda: tuple(window.smallest_input for window in windows))
    return lengths


def require_pixels(
    function: Callable[..., Any],
    batch: RaggedBatch,
    lengths: Sequence[Length],
    smallest: Callable[[], Sequence[int]],
) -> None:
    """Check that every image yields one output or more.

    Args:
        function: named in the error.
        batch: what ``function`` was given.
        lengths: the lengths of its result.
        smallest: returns the size of the smallest image that is large enough.

    Raises:
        ImageSizeError: an image is too small. While compiling nobody knows: the graph checks it when it runs.
    """
    if torch.compiler.is_compiling():
        for length in lengths:
            if length.known is None:
                enough = (length.tensor(batch.device) >= 1).all()
                torch._assert_async(enough, f"an image is too small for a {function.__name__} of a compiled model")
        return
    columns = [length.values for length in lengths]
    if min(map(min, columns)) < 1:
        index = next(i for i, size in enumerate(zip(*columns, strict=True)) if min(size) < 1)
        raise too_small(function, batch, index, smallest())


def too_small(function: Callable[..., Any], batch: RaggedBatch, index: int, smallest: Sequence[int]) -> ImageSizeError:
    """Make the error that names an image too small for ``function``."""
    size = batch.sizes[index]
    path = calling_module()
    where = f" in {path}" if path else ""
    return ImageSizeError(
        f"image {index} of the batch is {format_size(size)} ({_AXES[len(size)]}) where it "
        f"reaches {function.__name__}{where}, which needs at least {format_size(smallest)}",
        hint="leave such images out, enlarge them, or use a model with a smaller stride",
    )


@lru_cache(maxsize=1024)
def _outputs(window: Window, column: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(window.output(length) for length in column)
