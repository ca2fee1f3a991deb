"""Which policy of batch normalisation suits a run: by the images behind its statistics, and by what is pretrained.

What makes batch statistics noisy is how few *images* they are of, not how few pixels: pixels of one image are alike.
Measured with ResNet-18 on crops of 256x256 pixels of photos of animals (and of facades), the root mean square of
(variance of a batch / variance of all images - 1) over channels:

| images in the batch           | 1         | 2         | 4         | 8         | 16        |
|-------------------------------|-----------|-----------|-----------|-----------|-----------|
| 128x128 positions an image    | .46 (.35) | .33 (.26) | .25 (.18) | .17 (.13) | .11 (.08) |
| 8x8 positions an image        | .55 (.48) | .43 (.32) | .30 (.23) | .22 (.17) | .14 (.12) |

256 times the pixels change it by a fifth; four times the images halve it. So it is about 0.45 over the root of the
number of images. Only where there is a single position, behind an image-level pooling, is it that of independent
values: sqrt(2 / (n - 1)).

Images of different sizes are fewer than they seem: in statistics over pixels each counts by its area, and n of them are
worth n * mean(area)^2 / mean(area^2) images of one size (the effective sample size of Kish 1965, section 11.7). Three
satellite images of 14 to 2,048 pixels a side are worth 0.6, three photos of facades 2.6.
"""

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anysize.stepping.batch_norm import BatchNormPolicy, batch_norms

__all__ = ["ENOUGH_IMAGES", "FEW_IMAGES", "FEW_LATER", "choose_policy", "trained_layers"]

ENOUGH_IMAGES = 12
"""Of one size: from so many on batch statistics are good enough to train with (about 13 % off). Chen et al. 2017 (arXiv
1706.05587, section 4.1) take 16 windows of up to 513 pixels out of images scaled by 0.5 to 2, which are worth 13 to 15
of one size; Wu and He 2018 (table 2) see errors rise with fewer."""

FEW_IMAGES = 2
"""Of one size: below, a network that starts from random weights has group normalisation: batch normalisation at 2
images makes 34.7 % errors of ImageNet, group normalisation 24.1 % at any batch size (Wu and He 2018, table 2). At 4
images that table favours groups too (27.3 %), after 100 epochs of a million images. Small data sets learn sooner with
batches. DeepLab v3+ on half a ResNet-18, mean IoU with batches and with groups (benchmarks/segmentation_peers.py): road
scenes, a step worth 5.4 images of one size, 34.9 and 19.5 %; facades, worth 2.6, 33.0 and 28.5 %; bridges, worth 1.6,
17.4 and 16.3 %; satellite images, worth 0.6, 40.6 and 57.1 % (41.1 % with statistics taken anew)."""

FEW_LATER = 1.5
"""Of one size: below, a network that has begun with smaller images, and more of them a step, goes on at full size with
statistics that stand still. As above, after three quarters of the pixels at 512 pixels a side, mean IoU with groups all
along, with batches to the end, and with statistics that stand still (benchmarks/results/segmentation_start.txt):
satellite images, worth 0.6 at full size, 60.5, 58.4 and 63.5 %; bridges, worth 1.6, 22.4, 31.4 and 29.1 %; facades,
worth 2.6, 37.4 with batches and 35.7 %."""

_SPREAD = 0.45


def choose_policy(
    model: nn.Module,
    sizes: Iterable[Sequence[int]],
    *,
    batch_size: int,
    pretrained: bool,
    in_channels: int = 3,
    max_pixels: int | None = None,
    few: float = FEW_IMAGES,
) -> tuple[BatchNormPolicy, str]:
    """Choose a policy of batch normalisation, and say why in a sentence.

    Args:
        model: any module; it is not changed.
        sizes: (height, width) of the training images.
        batch_size: images a step.
        pretrained: whether the running statistics are those of trained weights.
        in_channels: of the images.
        max_pixels: canvas pixels that go through the network at once: statistics are of what does. None: all of a step.
        few: images of one size below which nothing is learned by statistics of the batch.

    Returns:
        ``train``, ``frozen``, ``recalibrate`` or ``group``; and the reason.
    """
    if next(batch_norms(model), None) is None:
        return "train", "the network has no batch normalisation"
    known = np.asarray(sizes if isinstance(sizes, np.ndarray) else list(sizes), np.int64).reshape(-1, 2)
    areas = known.prod(axis=1).astype(np.float64)
    images = max(1, min(batch_size, len(areas) or batch_size))
    if max_pixels is not None and len(areas):
        images = max(1, min(images, int(max_pixels // max(areas.mean(), 1))))
    worth = images * _evenness(areas)
    middle = tuple(known[np.argsort(areas, kind="stable")[len(areas) // 2]].tolist()) if len(areas) else None
    found = _told(model, middle, images, worth, in_channels)
    if worth >= ENOUGH_IMAGES:
        return "train", f"{found}, enough for statistics of the batch"
    if pretrained:
        return "frozen", (
            f"{found}, fewer than the {ENOUGH_IMAGES} images of one size that batch statistics need, and the "
            "pretrained statistics are of many"
        )
    if worth >= few:
        return "recalibrate", (
            f"{found}, too few for moving averages; nothing is pretrained, so it is trained with, and estimated anew "
            "before each evaluation"
        )
    return "group", (
        f"{found}, too few to train with, and nothing is pretrained: group normalisation has no statistics of the batch"
    )


def trained_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers of batch normalisation whose running statistics are not those of a new layer.

    Behind a pretrained encoder, those of a new decoder are mean 0 and variance 1: frozen there, they would never
    normalise. So what to freeze is asked right after weights were loaded, and kept for the rest of the run.
    """
    return tuple(
        name
        for name, module in batch_norms(model)
        if module.running_mean is not None
        and module.running_var is not None
        and not (bool((module.running_mean == 0).all()) and bool((module.running_var == 1).all()))
    )


def _evenness(areas: NDArray[np.float64]) -> float:
    """How much of an image of one size an image of these areas is worth; 1 where all are the same."""
    squares = float((areas**2).mean()) if len(areas) else 0.0
    return float(areas.mean()) ** 2 / squares if squares else 1.0


def _told(model: nn.Module, middle: tuple[int, int] | None, images: int, worth: float, in_channels: int) -> str:
    """The figures, in words; those of positions for an image of the ``middle`` size."""
    off = f"their variance is off by about {_SPREAD / math.sqrt(worth):.0%}"
    said = f"statistics of {images} image{'s' * (images != 1)}"
    if f"{worth:.1f}" != f"{images:.1f}":
        said += f" of different sizes, worth {worth:.1f} of one size"
    if middle is None:
        return f"{said} ({off})"
    positions = _positions(model, middle, in_channels)
    maps = {name: count for name, count in positions.items() if count > 1}
    if maps:
        coarsest = min(maps, key=maps.__getitem__)
        said += f", {images * maps[coarsest]:,} values a channel at {coarsest}"
    said = f"{said} ({off})"
    if len(maps) < len(positions):
        pooled = next(name for name in positions if name not in maps)
        said += f", {images} value{'s' * (images != 1)} behind the image-level pooling ({pooled})"
    return said


def _positions(model: nn.Module, size: tuple[int, int], in_channels: int) -> dict[str, int]:
    """Positions of one image at each layer that it reaches; on meta tensors, so that nothing is worked out."""
    probe = copy.deepcopy(model).to("meta").eval()
    found: dict[str, int] = {}
    for name, module in batch_norms(probe):
        module.register_forward_pre_hook(
            lambda _, args, name=name: found.__setitem__(name, math.prod(args[0].shape[2:]))
        )
    try:
        with torch.no_grad():
            probe(torch.empty(1, in_channels, *size, device="meta"))
    except Exception:  # whatever a network of the user's says to meta tensors; the figures are for reading only
        return {}
    return found
