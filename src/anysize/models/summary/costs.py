"""What one image costs in a network, counted on tensors without contents: products, and memory for activations."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Costs", "count_costs"]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one image, in float32."""

    multiply_adds: int
    """Of convolutions and matrix products (linear layers, attention); additions of biases, normalisation, activations
    and resampling are not counted."""
    training_bytes: int | None
    """Activations that autograd keeps from the forward to the backward pass, the image included, each storage once:
    what every further image of a batch adds. None where the network cannot be run in training mode."""
    evaluation_bytes: int
    """The most bytes of activations alive at once in a forward pass without gradients, the image included; what
    kernels take for themselves is not."""


def count_costs(model: nn.Module, in_channels: int, size: tuple[int, int]) -> Costs:
    """Count what an image of ``size`` (height, width) costs.

    Args:
        model: on the meta device, in float32 and evaluation mode. It stays as it is.
        in_channels: of the image.
        size: of the image.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, in_channels, *size, device="meta"))
    return Costs(
        multiply_adds=counter.get_total_flops() // 2,  # torch counts a multiplication and an addition apart
        training_bytes=_training_bytes(model, in_channels, size),
        evaluation_bytes=_evaluation_bytes(model, in_channels, size),
    )


def _training_bytes(model: nn.Module, in_channels: int, size: tuple[int, int]) -> int | None:
    training = copy.deepcopy(model).train()
    try:
        # The difference of two batches: what is kept once a batch (statistics) is no cost of an image.
        two, three = (_saved_bytes(training, torch.empty(n, in_channels, *size, device="meta")) for n in (2, 3))
    except (RuntimeError, ValueError):
        return None
    return three - two


def _saved_bytes(model: nn.Module, images: Tensor) -> int:
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # alive until the end: an address that is free is used again

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def _evaluation_bytes(model: nn.Module, in_channels: int, size: tuple[int, int]) -> int:
    image = torch.empty(1, in_channels, *size, device="meta")
    with torch.no_grad(), _Alive(model, image) as alive:
        model(image)
    peak: int = alive.peak
    return peak


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes of storages that were alive at once; those of the network itself are not counted."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        self._meet([image])

    def _meet(self, tensors: list[Tensor]) -> None:
        self._alive = {
            place: entry
            for place, entry in self._alive.items()
            if not entry[0].expired()  # type: ignore[no-untyped-call]
        }
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._own:
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._alive[storage._cdata] = (reference, storage.nbytes())
        self.peak = max(self.peak, sum(num_bytes for _, num_bytes in self._alive.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._meet([leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)])
        return result
