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
"""

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from anysize.stepping.batch_norm import BatchNormPolicy, batch_norms

__all__ = ["ENOUGH_IMAGES", "FEW_IMAGES", "choose_policy", "trained_layers"]

ENOUGH_IMAGES = 16
"""Images from which on batch statistics are good enough to train with (about 11 % off): Chen et al. 2017 (arXiv
1706.05587, section 4.1) take 16 for that reason; Wu and He 2018 (table 2) see errors rise below."""

FEW_IMAGES = 4
"""Below, a network that starts from random weights has group normalisation: batch normalisation at 2 images makes
34.7 % errors of ImageNet, group normalisation 24.1 % at any batch size (Wu and He 2018, table 2). At 4 images that
table favours groups too (27.3 %), after 100 epochs of a million images. Small data sets learn sooner with batches.
DeepLab v3+ on half a ResNet-18, mean IoU with batches and with groups: 16 road scenes after 120 updates of 4 images
26.0 and 19.1 %, after 113 of 6 images 34.9 and 19.5 %; satellite images of all sizes, 118 updates of 3 images, 40.6 and
57.1 % (benchmarks/segmentation_peers.py)."""

_SPREAD = 0.45


def choose_policy(
    model: nn.Module,
    sizes: Iterable[Sequence[int]],
    *,
    batch_size: int,
    pretrained: bool,
    in_channels: int = 3,
    max_pixels: int | None = None,
    head_only: bool = False,
) -> tuple[BatchNormPolicy, str]:
    """Choose a policy of batch normalisation, and say why in a sentence.

    Args:
        model: any module; it is not changed.
        sizes: (height, width) of the training images.
        batch_size: images a step.
        pretrained: whether the running statistics are those of trained weights.
        in_channels: of the images.
        max_pixels: canvas pixels that go through the network at once: statistics are of what does. None: all of a step.
        head_only: a stage that trains the head alone, behind a frozen backbone.

    Returns:
        ``train``, ``frozen``, ``recalibrate`` or ``group``; and the reason.
    """
    if next(batch_norms(model), None) is None:
        return "train", "the network has no batch normalisation"
    areas = [(int(height), int(width)) for height, width in sizes]
    images = max(1, min(batch_size, len(areas) or batch_size))
    if max_pixels is not None and areas:
        mean_area = sum(height * width for height, width in areas) / len(areas)
        images = max(1, min(images, int(max_pixels // max(mean_area, 1))))
    found = _told(model, areas, images, in_channels)
    if head_only:
        return "frozen", f"the backbone stands still in this stage, and so do its statistics ({found})"
    if images >= ENOUGH_IMAGES:
        return "train", f"{found}, enough for statistics of the batch"
    if pretrained:
        return "frozen", (
            f"{found}, fewer than the {ENOUGH_IMAGES} images that batch statistics need, and the pretrained statistics "
            "are of many"
        )
    if images >= FEW_IMAGES:
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


def _told(model: nn.Module, sizes: list[tuple[int, int]], images: int, in_channels: int) -> str:
    """The figures, in words."""
    off = f"their variance is off by about {_SPREAD / math.sqrt(images):.0%}"
    said = f"statistics of {images} image{'s' * (images != 1)}"
    if not sizes:
        return f"{said} ({off})"
    middle = sorted(sizes, key=math.prod)[len(sizes) // 2]
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
