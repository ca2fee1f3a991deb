"""The part of a tensor's interface that does not compute: kind, place, and moving elsewhere."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from anysize.ragged.operators import TensorLike

__all__ = ["CanvasTensor"]


class CanvasTensor(TensorLike):
    """What has a canvas, and answers as the canvas does. Subclasses say what becomes of the rest when it moves."""

    __slots__ = ()
    _canvas: Tensor

    def with_dtype(self, canvas: Tensor) -> Self:
        """Return the same images on ``canvas``, which holds them in another dtype or memory format."""
        raise NotImplementedError

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the same images with every tensor of them put elsewhere by ``move``."""
        raise NotImplementedError

    def dim(self) -> int:
        """The number of axes of the canvas."""
        return self._canvas.dim()

    @property
    def ndim(self) -> int:
        """The number of axes of the canvas."""
        return self._canvas.dim()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the canvas."""
        return self._canvas.dtype

    @property
    def device(self) -> torch.device:
        """The device of the canvas."""
        return self._canvas.device

    @property
    def is_cuda(self) -> bool:
        """Whether the canvas is on a CUDA device."""
        return self._canvas.is_cuda

    @property
    def requires_grad(self) -> bool:
        """Whether the canvas takes part in autograd."""
        return self._canvas.requires_grad

    def is_floating_point(self) -> bool:
        """Whether the canvas has a floating-point dtype."""
        return self._canvas.is_floating_point()

    def is_contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> bool:
        """As ``torch.Tensor.is_contiguous``, of the canvas."""
        return self._canvas.is_contiguous(memory_format=memory_format)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As ``torch.Tensor.to`` (device, dtype, memory_format, or another tensor or batch); the sizes stay."""
        if args and isinstance(args[0], CanvasTensor):
            args = (args[0]._canvas, *args[1:])
        moved = self._canvas.to(*args, **kwargs)
        if moved is self._canvas:
            return self
        result = self.with_dtype(moved)
        return result if moved.device == self.device else result.moved(lambda tensor: tensor.to(moved.device))

    def float(self) -> Self:
        """As ``torch.Tensor.float``."""
        return self.to(torch.float32)

    def double(self) -> Self:
        """As ``torch.Tensor.double``."""
        return self.to(torch.float64)

    def half(self) -> Self:
        """As ``torch.Tensor.half``."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """As ``torch.Tensor.bfloat16``."""
        return self.to(torch.bfloat16)

    def cpu(self) -> Self:
        """As ``torch.Tensor.cpu``."""
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Self:
        """As ``torch.Tensor.cuda``."""
        place = torch.device("cuda", device) if isinstance(device, int) else torch.device(device or "cuda")
        return self.to(place, non_blocking=non_blocking)

    def pin_memory(self) -> Self:
        """Return the images in page-locked memory; DataLoader calls this for ``pin_memory=True``."""
        return self.moved(lambda tensor: tensor.pin_memory())
