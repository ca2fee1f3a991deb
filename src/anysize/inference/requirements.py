"""What a network demands of its images, checked before any is read."""

import copy
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anysize.data import FileProblem, ImageTable, draw_geometry
from anysize.errors import ImageSizeError, UsageError
from anysize.sizes import format_size

__all__ = ["Samples", "leave_out_small", "require_answers", "require_maps", "require_sides"]

_SHOWN = 10


class Samples(Protocol):
    """What is asked of images, or of patches of them."""

    def sizes(self, epoch: int) -> NDArray[np.int64]:
        """(N, 2) heights and widths in an epoch."""


def require_sides(table: ImageTable, smallest_side: int, model: str, max_side: int | None) -> None:
    """Check that no image has a side that the network cannot take, after shrinking to ``max_side``.

    Raises:
        ImageSizeError: names such images, and how many there are.
    """
    shortest = _sizes(table, max_side).min(axis=1)
    (small,) = np.nonzero(shortest < smallest_side)
    if not len(small):
        return
    lines = [f"  {table.paths[i]} is {format_size(table.sizes[i])} (height x width)" for i in small[:_SHOWN]]
    if len(small) > _SHOWN:
        lines.append(f"  ... and {len(small) - _SHOWN} more")
    raise ImageSizeError(
        f"{len(small)} of {len(table)} images are too small; {model} needs at least {smallest_side} pixels a side"
        + (f" after shrinking to --max-side {max_side}" if max_side is not None else "")
        + ":\n"
        + "\n".join(lines),
        hint=f"--min-side {smallest_side} leaves them out",
    )


def require_answers(parts: Sequence[Samples], model: nn.Module, name: str, channels: int) -> None:
    """Check that ``model`` has one answer for each image of all parts, whatever its size in the first epoch.

    The forward passes, of the largest images and the smallest, run on meta tensors: shapes only, no arithmetic.

    Raises:
        ImageSizeError: the network takes one size only, and the images have others.
        UsageError: the network answers an image with a map.
    """
    for (height, width), shape in _shapes(parts, model, channels):
        if len(shape) != 2:
            raise UsageError(
                f"{name} answers an image of {format_size((height, width))} (height x width) with a map of "
                f"{format_size(shape[2:])} answers; labels of whole images need one answer each",
                hint="take a network that ends in a pool over all positions (fcn_small, resnet9; "
                "mnist_fcn with --model-kwargs average=true), or give masks to train a segmenter",
            )


def require_maps(parts: Sequence[Samples], model: nn.Module, name: str, channels: int) -> None:
    """Check that ``model`` answers each image of all parts with a map of the image's own size, as `require_answers`.

    Raises:
        ImageSizeError: the network takes one size only, and the images have others.
        UsageError: the network has one answer for the whole image, or a map of another size.
    """
    for size, shape in _shapes(parts, model, channels):
        if len(shape) != 4:
            raise UsageError(
                f"{name} has one answer for a whole image; these data have masks, one class for each pixel",
                hint="--model deeplabv3plus --model-kwargs encoder=mobilenet_v2, or --model unet, fcn8s",
            )
        if shape[2:] != size:
            raise UsageError(
                f"{name} answers an image of {format_size(size)} (height x width) with a map of "
                f"{format_size(shape[2:])}; masks need an answer for each pixel of the image",
                hint="let the network interpolate its logits to the size of its input",
            )


def _shapes(
    parts: Sequence[Samples], model: nn.Module, channels: int
) -> Iterator[tuple[tuple[int, int], tuple[int, ...]]]:
    """Sizes of the smallest and largest images, each with the shape of what the network returns, in evaluation mode."""
    sizes = np.concatenate([dataset.sizes(0) for dataset in parts])
    probe = copy.deepcopy(model).to("meta").eval()
    extremes = {tuple(map(int, sizes[i])) for side in sizes.T for i in (side.argmin(), side.argmax())}
    for height, width in sorted(extremes):
        with torch.no_grad():
            logits = probe(torch.empty(1, channels, height, width, device="meta"))
        yield (height, width), tuple(logits.shape)


def leave_out_small(
    table: ImageTable, min_side: int | None, max_side: int | None = None
) -> tuple[ImageTable, list[FileProblem]]:
    """Split off the images with a side below ``min_side`` after shrinking: (the rest, what was left out)."""
    if min_side is None:
        return table, []
    keep = _sizes(table, max_side).min(axis=1) >= min_side
    left_out = [
        FileProblem(table.paths[i], f"{format_size(table.sizes[i])} is below --min-side {min_side}")
        for i in np.nonzero(~keep)[0]
    ]
    return table.select(keep), left_out


def _sizes(table: ImageTable, max_side: int | None) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    places = np.arange(len(table))
    return draw_geometry(table.sizes, places, None, seed=0, epoch=0, max_side=max_side).sizes
