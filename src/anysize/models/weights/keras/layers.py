"""A layer of Keras beside ours: which variables it has, and how each lies in memory.

Letters: h x w the window, C input and C' output channels, H x W the map that is flattened.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["KINDS", "KerasLayer", "Variable"]

# By the name of Keras's class in snake case: (variable, our parameter, axes of Keras's tensor in our order).
# Convolutions are (h, w, C, C') in Keras and (C', C, h, w) here; depthwise ones (h, w, C, 1) and (C, 1, h, w).
KINDS: dict[str, tuple[tuple[str, str, tuple[int, ...]], ...]] = {
    "conv2d": (("kernel", "weight", (3, 2, 0, 1)), ("bias", "bias", (0,))),
    "depthwise_conv2d": (("depthwise_kernel", "weight", (2, 3, 0, 1)), ("bias", "bias", (0,))),
    "separable_conv2d": (
        ("depthwise_kernel", "depthwise.weight", (2, 3, 0, 1)),
        ("pointwise_kernel", "pointwise.weight", (3, 2, 0, 1)),
        ("bias", "pointwise.bias", (0,)),
    ),
    "dense": (("kernel", "weight", (1, 0)), ("bias", "bias", (0,))),
    "batch_normalization": (
        ("gamma", "weight", (0,)),
        ("beta", "bias", (0,)),
        ("moving_mean", "running_mean", (0,)),
        ("moving_variance", "running_var", (0,)),
    ),
}
"""What each kind of layer holds, in Keras's order; a bias is always the last."""


@dataclass(frozen=True)
class Variable:
    """One tensor, there and here."""

    name: str
    """In Keras, within its layer."""
    key: str
    """In our state dict."""
    axes: tuple[int, ...]
    """Axes of Keras's tensor, in our order."""
    flattened: tuple[int, int, int] | None = None
    """(C, H, W) of the map whose values are the inputs of a dense layer."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Turn Keras's layout into ours, as a tensor of its own."""
        if self.flattened is not None:  # Keras flattens (H, W, C), we (C, H, W)
            channels, height, width = self.flattened
            tensor = tensor.reshape(height, width, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
        return tensor.permute(self.axes).clone(memory_format=torch.contiguous_format)

    def to_keras(self, tensor: Tensor) -> Tensor:
        """Turn our layout into Keras's."""
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        tensor = tensor.permute(back)
        if self.flattened is not None:
            channels, height, width = self.flattened
            tensor = tensor.reshape(channels, height, width, -1).permute(1, 2, 0, 3).flatten(0, 2)
        return tensor.contiguous()

    def keras_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape that a tensor of ours has in Keras."""
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return tuple(shape[axis] for axis in back)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of Keras with this shape can be turned into ours, whatever its size."""
        return len(shape) == len(self.axes) and (self.flattened is None or shape[0] == math.prod(self.flattened))


@dataclass(frozen=True)
class KerasLayer:
    """One layer with weights."""

    kind: str
    """A key of `KINDS`."""
    name: str | None
    """In Keras; None where Keras gives it a number (``conv2d_3``), which differs from session to session."""
    ours: str
    """Dotted name of our module."""
    bias: bool = False
    """Whether a convolution or a dense layer has one."""
    flattened: tuple[int, int, int] | None = None
    """See `Variable`."""

    @property
    def label(self) -> str:
        """The name for people."""
        return self.name or f"{self.kind} ({self.ours} here)"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What it holds, in Keras's order."""
        whole = KINDS[self.kind]
        has_all = self.bias or self.kind == "batch_normalization"
        return tuple(
            Variable(name, f"{self.ours}.{ours}", axes, self.flattened if name == "kernel" else None)
            for name, ours, axes in (whole if has_all else whole[:-1])
        )
