"""A collate function for anyone's DataLoader."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged import RaggedBatch

__all__ = ["collate"]


def collate(samples: Sequence[Any]) -> Any:
    """Put samples into a ragged batch: pass it to ``torch.utils.data.DataLoader(collate_fn=anysize.collate)``.

    Args:
        samples: N images (C, *spatial), or N pairs (image, target) with integer or tensor targets.

    Returns:
        A `RaggedBatch`; with targets, the pair of it and the targets as a tensor (N, ...).
    """
    if isinstance(samples[0], Tensor):
        return RaggedBatch.from_images(samples)
    images = RaggedBatch.from_images([image for image, _ in samples])
    return images, torch.stack([torch.as_tensor(target) for _, target in samples])
