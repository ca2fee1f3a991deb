"""What is run: a copy of the model with telling weights and no chance in it, and images of awkward sizes."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from anysize.errors import UsageError

__all__ = ["LADDERS", "NarrowingWatch", "WithoutDropout", "draw_images", "first_convolution", "prepared"]

LADDERS: dict[int, tuple[tuple[tuple[int, ...], ...], ...]] = {
    1: (((33,), (47,), (64,), (41,)), ((193,), (235,), (256,), (177,)), ((64,), (96,), (160,))),
    2: (
        # Odd, even, prime; the first have no divisor in common with the strides of networks.
        ((33, 47), (41, 35), (64, 29), (37, 53)),
        ((97, 75), (85, 107), (128, 77), (91, 117)),
        ((161, 187), (199, 149), (224, 155)),
        ((299, 331), (317, 301)),
        # Some networks alone take multiples of their stride only.
        ((64, 96), (128, 64), (96, 160)),
        ((224, 256), (256, 192), (192, 320)),
    ),
    3: (
        ((5, 17, 13), (7, 11, 19), (9, 13, 15)),
        ((9, 33, 47), (13, 41, 35), (16, 64, 29)),
        ((16, 225, 231), (19, 231, 227)),
        ((32, 64, 96), (64, 96, 32)),
    ),
}
"""For each number of spatial axes the sizes that are tried, in this order, until the model takes them alone."""

_CHANCE = ("StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d")  # in torchvision and timm
_DROPOUTS = {
    getattr(place, name)
    for place in (functional, torch)
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
                 "feature_dropout", "dropout_", "alpha_dropout_", "feature_dropout_", "feature_alpha_dropout_")
    if hasattr(place, name)
}  # fmt: skip


class WithoutDropout(TorchFunctionMode):
    """Makes every functional dropout the identity: two runs cannot draw alike on canvases of different extent."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


class NarrowingWatch(TorchDispatchMode):
    """Sees whether a run in float64 casts to a narrower dtype inside, as layers do that compute "in float32"."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.narrows: bool = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].dtype == torch.float64:
            self.narrows = self.narrows or (result.is_floating_point() and result.dtype != torch.float64)
        return result


def prepared(model: nn.Module, *, randomise: bool, seed: int) -> nn.Module:
    """Copy ``model``, without stochastic depth, on the CPU, and with random parameters where asked."""
    own = copy.deepcopy(model).cpu().requires_grad_(True)  # of frozen parameters, too, a rule has to send gradients
    for module in own.modules():
        for attribute in ("p", "drop_prob"):
            if type(module).__name__ in _CHANCE and hasattr(module, attribute):
                setattr(module, attribute, 0.0)
    if randomise:
        _randomise(own, torch.Generator().manual_seed(seed))
    return own


def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Give every parameter and running statistic a random value.

    Fresh weights hide leaks: a new BatchNorm shifts by nothing, a LayerScale of 1e-6 keeps its branch out of sight.
    Matrices are scaled by their fan-in, vectors that multiply lie around 1.
    """
    with torch.no_grad():
        for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
            last = name.rpartition(".")[2]
            is_statistic = last in ("running_mean", "running_var")
            if not tensor.is_floating_point() or not (is_statistic or isinstance(tensor, nn.Parameter)):
                continue  # other buffers are constants: a blur's filter, a table of positions
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
            if last == "running_var":
                tensor.copy_(noise.abs() + 0.5)
            elif tensor.dim() > 1 and tensor[0].numel() > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                shifts = last == "running_mean" or "bias" in last or last in ("beta", "shift")
                tensor.copy_(noise * 0.3 + (0.1 if shifts else 1.0))


def first_convolution(model: nn.Module) -> tuple[int, int] | None:
    """Return (channels, spatial axes) that the first registered convolution takes, or None without one."""
    for module in model.modules():
        for axes, kind in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), start=1):
            if isinstance(module, kind):
                return module.in_channels, axes
    return None


def draw_images(sizes: Sequence[Sequence[int]], in_channels: int, seed: int) -> list[Tensor]:
    """Draw normal random images (C, *size) in float64.

    Raises:
        UsageError: a size that is none.
    """
    for size in sizes:
        if not size or any(length < 1 for length in size) or len(size) != len(sizes[0]):
            raise UsageError(f"sizes is {sizes}; each must have the same number of lengths, of at least 1")
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(in_channels, *size, generator=generator, dtype=torch.float64) for size in sizes]
