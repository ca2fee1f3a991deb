"""Batch normalisation over the images of all ranks: what they tell each other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["gather_statistics", "sum_over_ranks"]


def gather_statistics(
    mean: Tensor, variance: Tensor, num_real: int | Tensor, ranks: Any
) -> Sequence[tuple[Tensor, Tensor, Tensor]]:
    """Return (mean, biased variance, number of real pixels) of every rank, this one's own among them.

    Args:
        mean: (C,)
        variance: (C,)
        num_real: of this rank; the ranks' numbers differ, as their images do.
        ranks: the process group.
    """
    # In float64: a count of pixels above 2^24 has no exact float32.
    count = torch.as_tensor(num_real, dtype=torch.float64, device=mean.device).reshape(1)
    mine = torch.cat([mean.double(), variance.double(), count])
    every = [torch.empty_like(mine) for _ in range(distributed.get_world_size(ranks))]
    distributed.all_gather(every, mine, group=ranks)
    num_channels = mean.numel()
    return [
        (row[:num_channels].to(mean.dtype), row[num_channels:-1].to(mean.dtype), row[-1].to(torch.float64))
        for row in every
    ]


def sum_over_ranks(values: Tensor, ranks: Any) -> Tensor:
    """Return the sum of ``values`` over the ranks of a process group."""
    total = values.clone()
    distributed.all_reduce(total, group=ranks)
    return total
