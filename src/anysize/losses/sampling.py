"""The hardest pixels of each image: online hard example mining (Shrivastava et al. 2016; Wu et al. 2016)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import UsageError
from anysize.losses.laying import Labels, Pair, lay_pairs
from anysize.ragged import Padding, RaggedBatch, RaggedGroup

__all__ = ["WHY_NO_CLASS_WEIGHTS", "hardest_labels", "num_hardest", "sample_hardest"]

WHY_NO_CLASS_WEIGHTS = "the predictions would decide what its sum is divided by"
"""Of a loss over the hardest pixels: their number is known beforehand, and their classes, so their weights, are not."""


def num_hardest(share: float, num_counted: int) -> int:
    """Return how many pixels the hardest share of some are: rounded up, so that at least one is left.

    >>> num_hardest(0.25, 9), num_hardest(0.07, 100), num_hardest(0.01, 1), num_hardest(0.5, 0)
    (3, 7, 1, 0)
    """
    number = math.ceil(round(share * num_counted, 6))  # 0.07 * 100 is 7.000000000000001
    return max(number, 1) if num_counted else 0


def hardest_labels(pair: Pair, share: float) -> Labels:
    """Return the labels of which only the hardest share of each image's counted pixels count.

    Hardest by cross-entropy; among equals the first in row-major order, so that an image's choice does not depend on
    the canvas that it lies on.
    """
    labels = pair.labels
    numbers = [num_hardest(share, number) for number in labels.num_counted]
    if numbers == list(labels.num_counted):
        return labels
    with torch.no_grad():
        losses = functional.cross_entropy(pair.pixels, pair.pixel_labels, reduction="none")
        # NaN is hardest of all: training must see it, and stop.
        losses = losses.flatten().nan_to_num(nan=torch.inf, posinf=torch.inf)
        chosen = torch.zeros(labels.targets.numel(), dtype=torch.bool, device=losses.device)
        parts = torch.split(losses, list(labels.num_counted))
        picks = [_largest(values, number) for values, number in zip(parts, numbers, strict=True) if number]
        chosen[pair.places] = torch.cat(picks)
    return labels.only(chosen.reshape(labels.targets.shape), numbers)


def _largest(values: Tensor, number: int) -> Tensor:
    """Return a bool mask (M,) of the ``number`` largest values (M,), the first ones among equals."""
    limit = values.kthvalue(len(values) - number + 1).values
    above, equal = values > limit, values == limit
    return above | (equal & (equal.cumsum(0) <= number - above.sum()))


def sample_hardest(logits: Any, targets: Any, share: float, ignore_label: int = 255) -> Any:
    """Set the targets of all but the hardest pixels to the ignore label, image by image.

    Any loss of the result has the exact gradient over the pixels that are left.

    Args:
        logits: maps (N, K, *spatial): a tensor, a `RaggedBatch` or a `RaggedGroup`.
        targets: class indices (N, *spatial), as for `Loss`.
        share: of each image's pixels that count, above 0 and at most 1; rounded up to whole pixels.
        ignore_label: the target that does not count; all padding is set to it too.

    Returns:
        New targets, of the kind and dtype of those given.

    Raises:
        UsageError: a share out of range, labels of whole images, or an ignore label that the targets cannot hold.
    """
    if not 0.0 < share <= 1.0:
        raise UsageError(f"the share of hardest pixels is {share:g}; above 0 and at most 1 is required")
    parts = logits.parts if isinstance(logits, RaggedGroup) else (logits,)
    num_classes = int(parts[0].shape[1])
    pairs = lay_pairs(logits, targets, num_classes, ignore_label)
    if not all(pair.labels.is_maps for pair in pairs):
        raise UsageError(
            "the hardest pixels were asked for of targets that hold one label for each image; maps are required"
        )
    laid = [_ignoring(pair, share, ignore_label) for pair in pairs]
    if isinstance(targets, RaggedGroup):
        return RaggedGroup(_relaid(laid, targets.parts, parts))
    if isinstance(targets, RaggedBatch):
        return _relaid(laid, [targets], parts)[0]
    done = [new.reshape(old.shape) for new, old in zip(laid, _as_list(targets), strict=True)]
    return type(targets)(done) if isinstance(targets, list | tuple) else done[0]


def _as_list(targets: Any) -> list[Any]:
    return list(targets) if isinstance(targets, list | tuple) else [targets]


def _ignoring(pair: Pair, share: float, ignore_label: int) -> Tensor:
    labels = hardest_labels(pair, share)
    limits = torch.iinfo(labels.targets.dtype)
    if not limits.min <= ignore_label <= limits.max:
        raise UsageError(
            f"the ignore label is {ignore_label}, which targets of {labels.targets.dtype} cannot hold",
            hint="targets.long(), or ignore_label=255",
        )
    return torch.where(labels.counted, labels.targets, ignore_label).to(labels.targets.dtype)


def _relaid(laid: Sequence[Tensor], targets: Sequence[RaggedBatch], logits: Sequence[Any]) -> list[RaggedBatch]:
    """Make ragged batches of (N, P), on the canvas that logits and targets have in common."""
    done = []
    for values, old, beside in zip(laid, targets, logits, strict=True):
        other = beside.extents if isinstance(beside, RaggedBatch) else beside.shape[2:]
        extents = tuple(map(min, zip(old.extents, other, strict=True)))
        canvas = values.reshape(len(values), *extents)
        done.append(RaggedBatch.laid_out(canvas, old.lengths, Padding.FINITE, old.layout, extents))
    return done
