"""Running out of memory: how to recognise it, and how to take back what was begun."""

import torch
from torch import nn

__all__ = ["Undo", "is_out_of_memory"]

# What torch and the libraries under it say, in lower case; only CUDA has a class of its own for it.
_SAID = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "cannot allocate memory",
    "alloc_failed",
    "std::bad_alloc",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error``, or what caused it, is that memory could not be had."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID):
            return True
        error = error.__cause__
    return False


class Undo:
    """Remembers what a step changes before its update: buffers (running statistics) and the state of random numbers.

    Args:
        model: whose buffers are remembered.
        device: where it is.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model, self._device = model, device
        self._buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self._random = torch.get_rng_state()
        self._device_random = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def __call__(self) -> None:
        """Put everything back, and drop the gradients."""
        with torch.no_grad():
            for name, buffer in self._model.named_buffers():
                if name in self._buffers:  # a module may make a buffer of its own when it first runs
                    buffer.copy_(self._buffers[name])
        for parameter in self._model.parameters():
            parameter.grad = None
        torch.set_rng_state(self._random)
        if self._device_random is not None:
            torch.cuda.set_rng_state(self._device_random, self._device)
