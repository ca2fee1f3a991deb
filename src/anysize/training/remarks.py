"""What should be known of a run before it starts: options that do less than they say."""

import numpy as np
from torch import nn

from anysize.data import ImageDataset
from anysize.data.augment.rotation import LEAST_SHARE, limited_angles
from anysize.data.patches import PatchDataset
from anysize.training.config import TrainConfig
from anysize.training.source import images_of

__all__ = ["remarks"]


def remarks(config: TrainConfig, model: nn.Module, train: ImageDataset | PatchDataset) -> list[str]:
    """A sentence each."""
    found = [
        _of_grid(train),
        _of_auxiliary_head(config, model),
        _of_rotation(config, images_of(train)),
        _of_updates(config, train),
    ]
    return [line for line in found if line is not None]


def _of_grid(train: ImageDataset | PatchDataset) -> str | None:
    if not (isinstance(train, PatchDataset) and train.by == "grid"):
        return None
    return (
        f"a grid of patches, {train.overlap} pixels or more shared by neighbours, covers each image at its own scale: "
        "no scale, aspect or rotation is drawn"
    )


def _of_auxiliary_head(config: TrainConfig, model: nn.Module) -> str | None:
    has_one = any(name.startswith("aux") for name, _ in model.named_children())
    if not has_one and config.aux_weight and "aux_weight" in config.given and not config.is_passed_on:
        return (
            f"--aux-weight {config.aux_weight:g} does nothing: {config.model} has no auxiliary head as it was asked "
            "for; --model-kwargs aux_head=true gives deeplabv3plus one"
        )
    if config.aux_weight or not has_one:
        return None
    return (
        "the auxiliary head has no part in the loss, as --aux-weight is 0, and is not trained; --aux-weight 0.4 trains "
        "it, or leave out aux_head"
    )


def _of_rotation(config: TrainConfig, images: ImageDataset) -> str | None:
    """Of whole images: a crop before the rotation makes some of them more oblong, and others less."""
    if images.augmentation is None or not images.augmentation.rotate:
        return None
    sizes = images.table.sizes.astype(np.float64)
    least = np.maximum((np.minimum(sizes, images.smallest_side) / sizes).max(axis=1), LEAST_SHARE)
    # The angle that leaves least; what it is limited to is the largest of those from 0 on that are not.
    worst = np.arctan2(sizes.max(axis=1), sizes.min(axis=1))
    limits = limited_angles(sizes, worst, least)
    is_limited = (limits < worst) & (np.rad2deg(limits) < config.rotate)
    if not is_limited.any():
        return None
    degrees = np.rad2deg(limits[is_limited])
    low, high = f"{degrees.min():.0f}", f"{degrees.max():.0f}"
    needed = f", or than the {images.smallest_side} pixels that {config.model} takes"
    return (
        f"--rotate {config.rotate:g}: {is_limited.sum()} of the {len(sizes)} training images turn by about "
        f"{low if low == high else f'{low} to {high}'} degrees at most where the angle drawn would leave less than "
        f"half of a side{needed if (least[is_limited] > LEAST_SHARE).any() else ''}"
    )


def _of_updates(config: TrainConfig, train: ImageDataset | PatchDataset) -> str | None:
    if config.batch_size < len(train) or len(train) < 2:
        return None
    return (
        f"all {len(train)} training images are one batch (--batch-size {config.batch_size}): one update an epoch, "
        f"{config.epochs} in the whole run; smaller batches make more"
    )
