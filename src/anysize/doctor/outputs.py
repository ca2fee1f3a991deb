"""Outputs and losses of any shape that a model or a loss may give: one tensor of logits, one number."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["logits_of", "mean_loss"]


def logits_of(output: Any) -> Tensor:
    """Return the main logits: an output may be a mapping (``out``) or a sequence, with auxiliary ones behind.

    Raises:
        TypeError: the output holds no tensor there.
    """
    if isinstance(output, Mapping):
        output = output["out"] if "out" in output else next(iter(output.values()))
    elif isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"the model returned {type(output).__name__}; a tensor of logits is required")
    return output


def mean_loss(loss: Any, logits: Any, targets: Any) -> Tensor:
    """Return a loss as one number: a scalar, `LossSum`, or an objective of several terms.

    Args:
        loss: a callable that returns a tensor or (total, count); or with ``terms`` and ``sums`` as
            `anysize.losses.create_objective` makes them.
        logits, targets: what it takes.
    """
    if hasattr(loss, "terms") and hasattr(loss, "sums"):
        weights = [float(term.weight) for term in loss.terms]
        sums = loss.sums(logits, targets)
        return torch.stack([w * s.total / max(s.count, 1e-12) for w, s in zip(weights, sums, strict=True)]).sum()
    result: Any = loss(logits, targets)
    if isinstance(result, tuple | list):
        return torch.as_tensor(result[0] / max(float(result[1]), 1e-12))
    mean: Tensor = result if result.dim() == 0 else result.mean()
    return mean
