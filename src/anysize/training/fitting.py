"""``--max-pixels auto`` and ``--checkpointing`` of a training run, made into figures before it starts."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anysize.console import Console
from anysize.data import Augmentation, ImageDataset
from anysize.data.augment import draw_geometry
from anysize.loading import waiting_bytes
from anysize.memory import LargestImage, check_elements, choose_limit, enable_checkpointing, is_checkpointed
from anysize.training.config import TrainConfig

__all__ = ["fit_to_memory", "largest_image", "largest_sides"]


def fit_to_memory(
    config: TrainConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: ImageDataset,
    val: ImageDataset,
    console: Console,
) -> TrainConfig:
    """Return ``config`` with the limit as a number; turn activation checkpointing on where it is asked for or needed.

    Raises:
        ImageSizeError: an image would not fit into memory by itself.
    """
    if config.checkpointing == "on":
        num_blocks = enable_checkpointing(model)
        console.say(f"activation checkpointing is on for {num_blocks} blocks: about a third more time a step")
    largest = largest_image(config, train, val)
    if config.max_pixels != "auto":
        most = check_elements(model, largest, config.max_pixels, in_channels=train.channels)
        if most < config.max_pixels:
            console.say(f"max pixels  {most / 1e6:.1f} M (no tensor may reach 2^31 elements)")
        return replace(config, max_pixels=most)
    limit = choose_limit(
        model,
        largest,
        in_channels=train.channels,
        training=True,
        optimizer=optimizer,
        channels_last=config.channels_last,
        may_checkpoint=config.checkpointing == "auto",
        loading_bytes=waiting_bytes(train.channels, config.workers),
    )
    console.say(str(limit))
    if is_checkpointed(model) and config.checkpointing == "auto":
        console.say(
            "activation checkpointing is on: the largest image would not fit without. The gradients are the same, for "
            "about a third more time a step"
        )
        config = replace(config, checkpointing="on")
    return replace(config, max_pixels=limit.max_pixels)


def largest_image(config: TrainConfig, train: ImageDataset, val: ImageDataset) -> LargestImage:
    """Find the image that may get the largest canvas in any epoch, whatever augmentation draws."""
    found = []
    for dataset, multiple_of in ((val, 1), (train, config.multiple_of)):
        sides = largest_sides(
            dataset.table.sizes,
            dataset.augmentation,
            max_side=dataset.max_side,
            smallest_side=dataset.smallest_side,
        )
        canvases = -(-sides // multiple_of) * multiple_of
        index = int(np.argmax(canvases.prod(axis=1)))
        height, width = canvases[index].tolist()
        found.append(LargestImage(str(dataset.path(index)), (height, width)))
    return max(found, key=lambda image: image.pixels)


def largest_sides(
    native: NDArray[np.int64], augmentation: Augmentation | None, *, max_side: int | None, smallest_side: int
) -> NDArray[np.int64]:
    """Return (N, 2) heights and widths that `anysize.data.augment.draw_geometry` never exceeds, from its upper ends.

    Drawing all epochs would take long, and drawing some of them would miss the largest.

    Args:
        native: (N, 2) heights and widths of the images.
        augmentation: None for no variation.
        max_side: images with a longer side are shrunk to it.
        smallest_side: no side is made smaller.
    """
    plain = draw_geometry(
        native, np.arange(len(native)), None, seed=0, epoch=0, max_side=max_side, smallest_side=smallest_side
    ).sizes
    if augmentation is None:
        return plain
    shrink = plain.max(axis=1, keepdims=True) / native.max(axis=1, keepdims=True)
    stretch = np.sqrt([augmentation.aspect[1], 1 / augmentation.aspect[0]])  # of the height, of the width
    sides = native * shrink * augmentation.scale[1] * stretch
    # Against each side the other may be cropped most, and stretched least: the aspect is kept by what follows.
    kept = np.maximum(np.floor(native * augmentation.crop), np.minimum(native, smallest_side))
    aspect = native / np.maximum(kept[:, ::-1], 1) * stretch**2
    # Where the other side comes out below the smallest one, both are enlarged until it is not.
    sides = np.maximum(sides, np.minimum(plain, smallest_side)[:, ::-1] * aspect)
    if max_side is not None:
        sides = np.minimum(sides, np.minimum(aspect, 1) * max_side)
    # Rounded up, with room for a half that is rounded away from it; what is not varied keeps its size.
    return np.asarray(np.maximum(np.floor(sides + 0.5 + 1e-6), plain), dtype=np.int64)
