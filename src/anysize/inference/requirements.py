"""What a network demands of its images, checked before any is read."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from anysize.data import FileProblem, ImageDataset, ImageTable, draw_geometry
from anysize.errors import ImageSizeError, UsageError
from anysize.sizes import format_size

__all__ = ["leave_out_small", "require_answers", "require_sides"]

_SHOWN = 10


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


def require_answers(parts: Sequence[ImageDataset], model: nn.Module, name: str) -> None:
    """Check that ``model`` has one answer for each image of all parts, whatever its size in the first epoch.

    The forward passes, of the largest images and the smallest, run on meta tensors: shapes only, no arithmetic.

    Raises:
        ImageSizeError: the network takes one size only, and the images have others.
        UsageError: the network answers an image with a map.
    """
    sizes = np.concatenate([dataset.sizes(0) for dataset in parts])
    probe = copy.deepcopy(model).to("meta").eval()
    extremes = {tuple(map(int, sizes[i])) for side in sizes.T for i in (side.argmin(), side.argmax())}
    for height, width in sorted(extremes):
        with torch.no_grad():
            logits = probe(torch.empty(1, parts[0].channels, height, width, device="meta"))
        if logits.dim() != 2:
            shape = format_size(tuple(logits.shape[2:]))
            raise UsageError(
                f"{name} answers an image of {format_size((height, width))} (height x width) with a map of {shape} "
                f"answers; labels of whole images need one answer each",
                hint="take a network that ends in a pool over all positions (fcn_small, resnet9; "
                "mnist_fcn with --model-kwargs average=true)",
            )


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
