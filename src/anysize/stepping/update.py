"""The end of a step: gradients are divided once, and the optimiser moves the weights."""

import torch
from torch import nn

from anysize.errors import TrainingError
from anysize.memory import is_out_of_memory

__all__ = ["average_gradients", "update"]


def average_gradients(model: nn.Module, count: float) -> float:
    """Divide all gradients by ``count``; returns their norm (0.0 where no parameter has one)."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not gradients:
        return 0.0
    if count != 1:
        torch._foreach_div_(gradients, float(count))
    return float(torch.nn.utils.get_total_norm(gradients))


def update(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move the weights and forget the gradients.

    Raises:
        TrainingError: memory ran out, and some weights may have moved.
    """
    try:
        optimizer.step()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory on {device}, in the update by {type(optimizer).__name__}; some weights may be updated and "
            "others not",
            hint="--resume goes on from the last checkpoint; a lower --max-pixels, --opt sgd (no state, or less) or a "
            "smaller network leaves more memory",
        ) from error
    optimizer.zero_grad(set_to_none=True)
