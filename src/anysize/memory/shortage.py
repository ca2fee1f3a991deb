"""Running out of memory: how to recognise it, and how to take back what was begun."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

__all__ = ["Undo", "attempt", "doubtful_words", "is_out_of_memory"]

_Result = TypeVar("_Result")

# What torch and the libraries under it say, in lower case; only CUDA has a class of its own for it.
_SAID = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "cannot allocate memory",
    "alloc_failed",
    "std::bad_alloc",
)
# oneDNN and cuDNN say so when they get no memory, and when they fail for another reason.
_SAID_IN_DOUBT = (
    "could not create a primitive",
    "could not create a memory object",
    "could not execute a primitive",
    "unable to find an engine",
    "cudnn_status_internal_error",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error``, or what caused it, is that memory could not be had, for all that it says."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID + _SAID_IN_DOUBT):
            return True
        error = error.__cause__
    return False


def doubtful_words(error: BaseException | None) -> str:
    """Return what ``error`` says, in parentheses, where that may mean a shortage of memory or something else."""
    while error is not None:
        said = str(error).strip()
        if isinstance(error, RuntimeError) and any(words in said.lower() for words in _SAID_IN_DOUBT):
            return f" (torch says: {said.splitlines()[0]})"
        error = error.__cause__
    return ""


def attempt(work: Callable[[], _Result]) -> tuple[_Result | None, str]:
    """Return the result of ``work``, or None where memory ran out, with `doubtful_words` of the error.

    The error itself is gone then: while it lives, so does every tensor of the pass.
    """
    try:
        return work(), ""
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None, doubtful_words(error)


class Undo:
    """Remembers what a step changes before its update: buffers (running statistics) and the state of torch's random
    numbers. Those of numpy, of Python and of a generator of one's own stay where they are.

    Args:
        model: whose buffers are remembered.
        device: where it is.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model, self._device = model, device
        self._buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self._random = torch.get_rng_state()
        self._device_random: torch.Tensor | None = None
        if device.type == "cuda":
            self._device_random = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            self._device_random = torch.mps.get_rng_state()

    def __call__(self) -> None:
        """Put everything back, and drop the gradients."""
        with torch.no_grad():
            for name, buffer in self._model.named_buffers():
                if name in self._buffers:  # a module may make a buffer of its own when it first runs
                    buffer.copy_(self._buffers[name])
        for parameter in self._model.parameters():
            parameter.grad = None
        torch.set_rng_state(self._random)
        if self._device_random is None:
            return
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._device_random, self._device)
        else:
            torch.mps.set_rng_state(self._device_random)
