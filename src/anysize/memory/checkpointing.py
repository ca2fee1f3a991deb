"""Activation checkpointing of any network: its blocks forget their activations, and work them out again when needed.

After Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Between the blocks activations are kept; inside
one they are gone after the forward pass, and the backward pass runs the block once more. The mathematics is the same.
"""

import copyreg
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anysize.errors import TrainingError
from anysize.ragged import RaggedBatch, RaggedGroup

__all__ = ["disable_checkpointing", "enable_checkpointing", "is_checkpointed"]

_MANY = 8  # a plain sequence of more layers than this is cut into several segments


def enable_checkpointing(model: nn.Module) -> int:
    """Let the blocks of ``model`` keep no activations while it trains; returns how many blocks that are.

    Parameters, buffers, their names and the network's results stay as they are, running statistics and torch's random
    numbers included. What it costs is about one more forward pass a step. A block that counts its passes in a plain
    attribute (not a buffer) counts twice as many.
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
            module.__class__ = _kind(module)


def is_checkpointed(model: nn.Module) -> bool:
    """Whether `enable_checkpointing` has been at work."""
    return any(isinstance(module, _Checkpointed) for module in model.modules())


class _Checkpointed:
    """Comes before the class of a block; see `_checkpointed`."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = super().forward  # type: ignore[misc]
        if not torch.is_grad_enabled():
            return own(*args, **kwargs)
        # Only the plain one is known to run its layers one after another: a subclass may add its input, say.
        is_plain = getattr(_kind(self), "forward", None) is nn.Sequential.forward
        if is_plain and not kwargs and len(args) == 1:
            result = args[0]
            for layers in _runs(self):
                result = _run(layers, result)
            return result
        return _call(self, own, args, kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class was made here and is found nowhere by its name: copies and files hold the block's own.
        parts: Any = super().__reduce_ex__(protocol)
        make, args, *state = parts
        if make is copyreg.__newobj__:  # type: ignore[attr-defined]
            make, args = _new, (_kind(self), *args[1:])
        return make, args, *state


@cache
def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """The class ``kind`` with a forward that is checkpointed."""
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (_Checkpointed, kind), names)


def _kind(block: object) -> Any:
    """The class that the block had before."""
    return type(block).__mro__[2]


def _new(kind: Any, *args: Any) -> Any:
    """An empty block of the class ``kind``, checkpointed; unpickling fills it."""
    made: Any = _checkpointed(kind)
    return made.__new__(made, *args)


def _run(layers: list[nn.Module], value: Any) -> Any:
    def work(value: Any) -> Any:
        for layer in layers:
            value = layer(value)
        return value

    return _call(nn.ModuleList(layers), work, (value,), {})


def _call(block: nn.Module, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    start = _Start(block, args, kwargs)
    # torch finds the devices whose random state it must keep by the tensors among the arguments; it does not look into
    # ragged batches, so their canvases come along in front.
    canvases = list(start.tensors)

    def work(_: list[Tensor]) -> Any:
        if not start.is_left:
            result = function(*args, **kwargs)
            start.leave()
            return result
        again, named = start.again()
        return function(*again, **named)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), start.buffers_of_then()

    result = checkpoint(work, canvases, use_reentrant=False, context_fn=contexts)
    canvases.clear()  # torch keeps the list; what was overwritten need not be kept
    return result


class _Start:
    """What the first pass through a block starts from, as the second one must find it.

    Args:
        block: about to run.
        args, kwargs: of its forward.
    """

    def __init__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.tensors: list[Tensor] = []
        self.is_left = False
        """Whether the first pass is over."""
        # A layer that works in place puts another canvas into the very batch, so it is not the batch that is kept.
        self._values = _mapped((args, kwargs), self._listed)
        self._versions = [_version(tensor) for tensor in self.tensors]
        works_in_place = any(getattr(module, "inplace", False) for module in block.modules())
        self._copies = [tensor.detach().clone() if works_in_place else None for tensor in self.tensors]
        self._name = type(block).__name__
        self._buffers = [
            (module, {name: None if b is None else b.detach().clone() for name, b in module._buffers.items()})
            for module in block.modules()
            if module._buffers
        ]

    def _listed(self, tensor: Tensor) -> Tensor:
        self.tensors.append(tensor)
        return tensor

    def leave(self) -> None:
        """The first pass is over: keep copies of what it has overwritten, and of nothing else."""
        copies: dict[int, Tensor] = {}
        for tensor, version, copy in zip(self.tensors, self._versions, self._copies, strict=True):
            if _version(tensor) == version:
                continue
            if copy is None:
                raise TrainingError(
                    f"the block {self._name} overwrites what it is called with, so activation checkpointing cannot run "
                    "it a second time",
                    hint="--checkpointing off; or write x = x + y instead of x += y where the block begins",
                )
            copies[id(tensor)] = copy.requires_grad_(tensor.requires_grad)
        self._values = _mapped(self._values, lambda tensor: copies.get(id(tensor), tensor))
        self._copied = {id(copy) for copy in copies.values()}
        self._copies, self.tensors = [], []
        self.is_left = True

    def again(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments for a second pass, which may overwrite them too."""
        values: tuple[tuple[Any, ...], dict[str, Any]] = _mapped(
            self._values, lambda tensor: tensor.clone() if id(tensor) in self._copied else tensor
        )
        return values

    @contextmanager
    def buffers_of_then(self) -> Iterator[None]:
        """Give the block copies of the buffers that it had: running statistics, spectral norms and counters move once.

        Copies, rather than no statistics: autograd keeps the running ones too, and the second pass must keep as many
        tensors as the first.
        """
        now = [dict(module._buffers) for module, _ in self._buffers]
        for module, then in self._buffers:
            _put(module, {name: None if buffer is None else buffer.clone() for name, buffer in then.items()})
        try:
            yield
        finally:
            for (module, _), buffers in zip(self._buffers, now, strict=True):
                _put(module, buffers)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _put(module: nn.Module, buffers: dict[str, Tensor | None]) -> None:
    module._buffers.clear()
    module._buffers.update(buffers)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same containers and batches anew, with each tensor as ``change`` gives it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, RaggedBatch):
        return value.with_canvas(change(value.canvas), value.padding)
    if isinstance(value, RaggedGroup):
        return RaggedGroup([_mapped(part, change) for part in value.parts])
    if type(value) in (list, tuple):
        return type(value)(_mapped(item, change) for item in value)
    if type(value) is dict:
        return {name: _mapped(item, change) for name, item in value.items()}
    return value


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
