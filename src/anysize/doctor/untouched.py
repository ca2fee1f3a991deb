"""Leave a model as it was found, whatever is tried with it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put everything back on leaving, by an error too.

    That is: parameters and buffers (values, in place), gradients, training flags and ``requires_grad`` of every module,
    and the random numbers of torch (all devices), numpy's global state and Python.
    """
    tensors = {name: (tensor, tensor.detach().clone()) for name, tensor in _tensors(model)}
    gradients = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    values = [None if gradient is None else gradient.detach().clone() for _, gradient, _ in gradients]
    flags = [(module, module.training) for module in model.modules()]
    momenta = [(module, module.momentum) for module in model.modules() if hasattr(module, "momentum")]
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(enabled=True):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)
            with torch.no_grad():
                for tensor, before in tensors.values():
                    tensor.copy_(before)
                for (parameter, gradient, requires_grad), value in zip(gradients, values, strict=True):
                    parameter.requires_grad_(requires_grad)
                    parameter.grad = gradient
                    if gradient is not None and value is not None:
                        gradient.copy_(value)
            for module, training in flags:
                module.training = training
            for module, momentum in momenta:
                module.momentum = momentum


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
