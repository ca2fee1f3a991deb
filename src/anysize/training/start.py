"""Progressive resizing of a run: what its options come to, what they do not go with, and what the run says of it."""

import numpy as np

from anysize.data import ImageDataset, ImageTable
from anysize.data.augment.geometry import shrunk_sizes
from anysize.data.patches import PatchDataset
from anysize.errors import ImageSizeError, UsageError
from anysize.loading import EpochPlanner
from anysize.sizes import format_size
from anysize.training.config import TrainConfig
from anysize.training.source import images_of

__all__ = ["require_start_sides", "require_whole", "told_start", "with_start"]

SHARE = 0.75
"""Of the run's pixels, those at the start size, unless --start-epochs says otherwise: what was measured with
(benchmarks/segmentation_peers.py)."""


def require_whole(config: TrainConfig) -> None:
    """Check that the run sees whole images.

    Raises:
        UsageError: it sees patches, whose size an image's does not change.
    """
    if config.start_side is not None and config.see == "patches":
        raise UsageError(
            f"--start-side is {config.start_side}, and --see patches sees windows of {config.patch_size} pixels, of "
            "which smaller images would have other ones",
            hint="leave out --start-side, or --see patches",
        )


def with_start(config: TrainConfig, train: ImageDataset | PatchDataset) -> TrainConfig:
    """Return ``config`` with the epochs of the start as a number, and have ``train`` start so.

    A resumed run keeps them, whatever its --epochs.
    """
    if config.start_side is not None and config.start_epochs is None:
        small, full = (float(train.sizes(epoch).prod(axis=1).mean()) for epoch in (0, 1))
        # e epochs of `small` and the others of `full`, so that the first have their share of all pixels.
        share = SHARE * full / (SHARE * full + (1 - SHARE) * small)
        config = config.resolved(start_epochs=min(max(round(config.epochs * share), 1), config.epochs - 1))
        images_of(train).start = config.start
    return config


def require_start_sides(config: TrainConfig, table: ImageTable, smallest_side: int) -> None:
    """Check that the network takes the training images at the size that the run starts with.

    Raises:
        ImageSizeError: names one that it does not take, and the least --start-side.
    """
    if config.start_side is None:
        return
    sizes = shrunk_sizes(table.sizes, config.start_side)
    if (sizes.min(axis=1) >= smallest_side).all():
        return
    worst = int(np.argmax(table.sizes.max(axis=1) / table.sizes.min(axis=1)))
    longer, shorter = int(table.sizes[worst].max()), int(table.sizes[worst].min())
    raise ImageSizeError(
        f"--start-side {config.start_side} makes {format_size(sizes[worst])} of {table.paths[worst]} "
        f"({format_size(table.sizes[worst])}), and {config.model} needs at least {smallest_side} pixels a side",
        # The least side that rounds the shorter one half up to what is needed.
        hint=f"--start-side {-(-longer * (2 * smallest_side - 1) // (2 * shorter))} or more",
    )


def told_start(config: TrainConfig, train: ImageDataset | PatchDataset) -> str | None:
    """What the sizes of the first epochs are, in a line; None where all epochs have full size."""
    start = config.start
    if start is None:
        return None
    if int(train.largest_sizes().max()) <= start.side:
        return f"note: --start-side {start.side} changes nothing: no training image gets a longer side above that"
    planner = EpochPlanner(train.sizes, config, seed=config.seed, start=start)
    full = "as they are" if config.max_side is None else f"at most {config.max_side}"
    epochs = "epoch 1" if start.epochs == 1 else f"epochs 1 to {start.epochs}"
    return (
        f"image sizes {epochs}: longer side at most {start.side} pixels, {planner.batch_size(0)} images a step; then "
        f"{full}, {config.batch_size} a step"
    )
