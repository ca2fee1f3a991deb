"""``--max-pixels auto`` and ``--checkpointing`` of a training run, made into figures before it starts."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from anysize.console import Console
from anysize.data import ImageDataset
from anysize.data.patches import PatchDataset
from anysize.loading import waiting_bytes
from anysize.memory import LargestImage, check_elements, choose_limit, enable_checkpointing, is_checkpointed
from anysize.training.config import TrainConfig

__all__ = ["fit_to_memory", "largest_image"]


def fit_to_memory(
    config: TrainConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: ImageDataset | PatchDataset,
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
        most = check_elements(model, largest, config.max_pixels, in_channels=val.channels)
        if most < config.max_pixels:
            console.say(f"max pixels  {most / 1e6:.1f} M (no tensor may reach 2^31 elements)")
        return replace(config, max_pixels=most)
    limit = choose_limit(
        model,
        largest,
        in_channels=val.channels,
        training=True,
        optimizer=optimizer,
        channels_last=config.channels_last,
        may_checkpoint=config.checkpointing == "auto",
        loading_bytes=waiting_bytes(val.channels, config.workers, masks=val.has_masks),
    )
    console.say(str(limit))
    if is_checkpointed(model) and config.checkpointing == "auto":
        console.say(
            "activation checkpointing is on: the largest image would not fit without. The gradients are the same, for "
            "about a third more time a step"
        )
        config = replace(config, checkpointing="on")
    return replace(config, max_pixels=limit.max_pixels)


def largest_image(config: TrainConfig, train: ImageDataset | PatchDataset, val: ImageDataset) -> LargestImage:
    """Find the image that may get the largest canvas in any epoch, whatever augmentation draws."""
    found = []
    for dataset, multiple_of in ((val, 1), (train, config.multiple_of)):
        sides = dataset.largest_sizes()
        canvases = -(-sides // multiple_of) * multiple_of
        index = int(np.argmax(canvases.prod(axis=1)))
        height, width = canvases[index].tolist()
        found.append(LargestImage(str(dataset.path(index)), (height, width)))
    return max(found, key=lambda image: image.pixels)
