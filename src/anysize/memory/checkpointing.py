"""Activation checkpointing of any network: its blocks forget their activations, and work them out again when needed.

After Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Between the blocks activations are kept; inside
one they are gone after the forward pass, and the backward pass runs the block once more. The mathematics is the same.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from math import isqrt
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from anysize.ragged import RaggedBatch, RaggedGroup

__all__ = ["disable_checkpointing", "enable_checkpointing", "is_checkpointed"]

_MANY = 8  # a plain sequence of more layers than this is cut into several segments


def enable_checkpointing(model: nn.Module) -> int:
    """Let the blocks of ``model`` keep no activations while it trains; returns how many blocks that are.

    Parameters, buffers, their names and the network's results stay as they are, running statistics and random numbers
    included. What it costs is about one more forward pass a step.
    """
    chosen = [module for module in _segments(model) if not isinstance(module, _Checkpointed)]
    for module in chosen:
        # By class, not by an attribute: copies of the network then have it, and run on their own parameters.
        kind: Any = type(module)
        module.__class__ = _checkpointed(kind)
    return len(chosen)


def disable_checkpointing(model: nn.Module) -> None:
    """Undo `enable_checkpointing`."""
    for module in model.modules():
        if isinstance(module, _Checkpointed):
            module.__class__ = type(module).__mro__[2]


def is_checkpointed(model: nn.Module) -> bool:
    """Whether `enable_checkpointing` has been at work."""
    return any(isinstance(module, _Checkpointed) for module in model.modules())


class _Checkpointed:
    """Comes before the class of a block; see `_checkpointed`."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = super().forward  # type: ignore[misc]
        if not torch.is_grad_enabled():
            return own(*args, **kwargs)
        if isinstance(self, nn.Sequential) and not kwargs and len(args) == 1:
            result = args[0]
            for layers in _runs(self):
                result = _run(layers, result)
            return result
        return _call(self, own, args, kwargs)


@cache
def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """The class ``kind`` with a forward that is checkpointed."""
    return type(kind.__name__, (_Checkpointed, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def _run(layers: list[nn.Module], value: Any) -> Any:
    def work(value: Any) -> Any:
        for layer in layers:
            value = layer(value)
        return value

    return _call(nn.ModuleList(layers), work, (value,), {})


def _call(block: nn.Module, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # torch finds the devices whose random state it must keep by the tensors among the arguments; it does not look into
    # ragged batches, so their canvases come along in front.
    canvases = [canvas for value in (*args, *kwargs.values()) for canvas in _canvases(value)]

    def work(_: list[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _still(block)

    return checkpoint(work, canvases, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _canvases(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, RaggedBatch):
        yield value.canvas
    elif isinstance(value, RaggedGroup):
        yield from (part.canvas for part in value.parts)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _canvases(item)


@contextmanager
def _still(block: nn.Module) -> Iterator[None]:
    """Let the running statistics of ``block`` rest: the second forward pass updates copies that nobody reads.

    Copies, rather than no statistics: autograd keeps the running ones too, and the second pass must keep as many
    tensors as the first.
    """
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    before = [dict(module._buffers) for module in norms]
    for module, buffers in zip(norms, before, strict=True):
        module._buffers.update({name: None if b is None else b.clone() for name, b in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in zip(norms, before, strict=True):
            module._buffers.update(buffers)


def _segments(model: nn.Module) -> list[nn.Module]:
    """The blocks of a network: the innermost modules that are not single layers and repeat no smaller block."""
    blocks = []
    for child in model.children():
        if _is_layer(child):
            continue
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or _repeats_blocks(child):
            blocks += _segments(child)
        elif next(child.parameters(), None) is not None:
            blocks.append(child)
    if not blocks and isinstance(model, nn.Sequential):
        return [model]
    return blocks


def _is_layer(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _repeats_blocks(module: nn.Module) -> bool:
    return any(
        sum(not _is_layer(child) for child in inner.children()) >= 2
        for inner in module.modules()
        if isinstance(inner, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    )


def _runs(sequence: nn.Sequential) -> list[list[nn.Module]]:
    """Cut a plain sequence into about as many runs as each has layers; a short one is a single run.

    No run begins with a layer that works in place: it would overwrite what the run starts from the second time.
    """
    layers = list(sequence)
    length = len(layers) if len(layers) <= _MANY else isqrt(len(layers))
    runs: list[list[nn.Module]] = [[]]
    for layer in layers:
        if len(runs[-1]) >= length and not getattr(layer, "inplace", False):
            runs.append([])
        runs[-1].append(layer)
    return runs
