"""Sliding windows on a ragged batch: the output size of each image, and the error for one that is too small."""

from collections.abc import Callable, Sequence
from typing import Any

from anysize.errors import ImageSizeError
from anysize.ragged.batch import RaggedBatch
from anysize.sizes import Window, format_size

__all__ = ["output_sizes", "per_axis"]

_AXES = {1: "length", 2: "height x width", 3: "depth x height x width"}


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """Spell an operator's int-or-sequence argument out, one integer a spatial axis."""
    if isinstance(value, Sequence):
        return tuple(int(item) for item in value) * (axes if len(value) == 1 else 1)
    return (int(value),) * axes


def output_sizes(
    function: Callable[..., Any], batch: RaggedBatch, windows: Sequence[Window]
) -> tuple[tuple[int, ...], ...]:
    """Return the true size of each image after windows of the given kinds, one kind a spatial axis.

    Raises:
        ImageSizeError: an image is too small to yield one output.
    """
    sizes = tuple(
        tuple(window.output(length) for window, length in zip(windows, size, strict=True)) for size in batch.sizes
    )
    for index, size in enumerate(sizes):
        if min(size) < 1:
            smallest = tuple(window.smallest_input for window in windows)
            raise ImageSizeError(
                f"image {index} of the batch is {format_size(batch.sizes[index])} ({_AXES[len(size)]}) where it "
                f"reaches {function.__name__}, which needs at least {format_size(smallest)}",
                hint="leave such images out, enlarge them, or use a model with a smaller stride",
            )
    return sizes
