"""`RaggedBatch`: images of many sizes on one canvas, and what is known of the padding around them."""

import math
import operator
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from anysize.errors import RaggedError
from anysize.ragged.lengths import Length
from anysize.ragged.operators import TensorLike
from anysize.ragged.padding import Sizes, clear_in_place, clear_owned, image_index, real_mask
from anysize.ragged.registry import find_rule
from anysize.sizes import format_size

__all__ = ["Padding", "RaggedBatch"]


class Padding(IntEnum):
    """What is known of the pixels outside the images; a larger value knows more."""

    UNKNOWN = 0
    """Anything, NaN included; the memory may be somebody else's, so it is never written to."""
    FINITE = 1
    """Finite numbers in memory that the batch owns; they may be overwritten with zeros."""
    ZERO = 2
    """Zeros."""


class RaggedBatch(TensorLike):
    """A batch of images of mixed sizes: one canvas, each image in its top-left corner, and the true sizes.

    A plain class that implements ``__torch_function__``: an unmodified ``nn.Module`` takes it as ``model(batch)``.
    Each torch function is worked by its rule, exactly, or refused (`UnsupportedOperatorError`).

    Args:
        canvas: (N, C, *spatial) with one, two or three spatial axes, floating point.
        sizes: N true sizes, one integer a spatial axis: ``((h, w), ...)``.
        padding: what is known of the pixels outside the images. Leave it out for a tensor of your own: it is then
            copied before anything is cleared, never written to.

    Raises:
        RaggedError: sizes that do not fit the canvas.
    """

    __slots__ = ("_canvas", "_mask", "_padding", "_sizes", "_version")
    _padding: Padding
    _version: int

    def __init__(self, canvas: Tensor, sizes: Sequence[Sequence[int]], *, padding: Padding = Padding.UNKNOWN) -> None:
        true_sizes = tuple(tuple(operator.index(length) for length in size) for size in sizes)
        _check(canvas, true_sizes)
        self._canvas = canvas
        self._sizes = true_sizes
        self._mask: Tensor | None = None
        self._know(padding)

    @classmethod
    def from_images(cls, images: Sequence[Tensor] | Tensor, canvas: Sequence[int] | None = None) -> "RaggedBatch":
        """Lay images of any sizes on the smallest canvas that holds them all, or on ``canvas``.

        Args:
            images: tensors C x H x W (or C x L, or C x D x H x W) of one dtype, device and number of channels; or one
                tensor N x C x *spatial of equal images.
            canvas: lengths of the spatial axes; by default the largest of each.
        """
        if isinstance(images, Tensor):
            images = list(images)
        if not images:
            raise RaggedError("a ragged batch was asked for without any image", hint="pass one image or more")
        first = images[0]
        for index, image in enumerate(images):
            if not isinstance(image, Tensor):
                raise RaggedError(
                    f"image {index} is a {type(image).__name__}; a torch.Tensor is required",
                    hint="torch.from_numpy(image).permute(2, 0, 1) makes one of a NumPy image (H, W, C)",
                )
            if image.dim() != first.dim() or image.dim() not in (2, 3, 4) or image.shape[0] != first.shape[0]:
                raise RaggedError(
                    f"image {index} has shape {tuple(image.shape)}, image 0 {tuple(first.shape)}: all must be "
                    f"C x L, C x H x W or C x D x H x W with the same number of axes and of channels C",
                    hint="convert grey and colour images to one number of channels first",
                )
            if (image.dtype, image.device) != (first.dtype, first.device):
                raise RaggedError(
                    f"image {index} is {image.dtype} on {image.device}, image 0 {first.dtype} on {first.device}: all "
                    f"must agree",
                    hint="convert them first, for example with image.to(images[0])",
                )
        sizes = tuple(tuple(image.shape[1:]) for image in images)
        largest = tuple(max(lengths) for lengths in zip(*sizes, strict=True))
        extent = tuple(canvas) if canvas is not None else largest
        if len(extent) != len(largest) or any(have < need for have, need in zip(extent, largest, strict=True)):
            raise RaggedError(
                f"a canvas of {format_size(extent)} cannot hold images of up to {format_size(largest)}",
                hint=f"use a canvas of at least {format_size(largest)}",
            )
        tensor = first.new_zeros((len(images), first.shape[0], *extent))
        for index, image in enumerate(images):
            tensor[image_index(index, sizes[index])] = image
        return cls(tensor, sizes, padding=Padding.ZERO)

    @property
    def canvas(self) -> Tensor:
        """The tensor (N, C, *spatial). Its padding belongs to the batch: do not rely on what it holds."""
        return self._canvas

    @property
    def sizes(self) -> Sizes:
        """The true size of each image."""
        return self._sizes

    @property
    def padding(self) -> Padding:
        """What is known of the pixels outside the images."""
        # Another tensor may share the canvas' memory (detach, say) and have been changed in place since.
        if self._padding is Padding.ZERO and _version(self._canvas) != self._version:
            self._padding = Padding.FINITE
        return self._padding

    def _know(self, padding: Padding) -> None:
        self._padding = padding
        self._version = _version(self._canvas)

    @property
    def spatial_axes(self) -> int:
        """The number of spatial axes: one, two or three."""
        return self._canvas.dim() - 2

    @property
    def is_uniform(self) -> bool:
        """Whether there is no padding at all."""
        extent = tuple(self._canvas.shape[2:])
        return all(size == extent for size in self._sizes)

    @property
    def areas(self) -> tuple[int, ...]:
        """The number of real pixels of each image."""
        return tuple(math.prod(size) for size in self._sizes)

    @property
    def num_real(self) -> int:
        """The number of real pixels of all images."""
        return sum(self.areas)

    @property
    def mask(self) -> Tensor:
        """Bool (N, 1, *spatial): true on real pixels."""
        if self._mask is None or self._mask.device != self._canvas.device:
            self._mask = real_mask(self._sizes, tuple(self._canvas.shape[2:]), self._canvas.device)
        return self._mask

    def unbind(self) -> list[Tensor]:
        """Return the images, each at its true size: N tensors (C, *size), views of the canvas."""
        return [self._canvas[image_index(number, size)] for number, size in enumerate(self._sizes)]

    # What rules work with.

    def cleared(self) -> Tensor:
        """Return the canvas with zeros for padding; the gradient in the padding is cleared too.

        Only for operators that send back a fresh gradient tensor (convolutions).
        """
        if self.padding is Padding.UNKNOWN:
            return self.masked(0.0)
        canvas = clear_owned(self._canvas, self._sizes, is_zero=self.padding is Padding.ZERO)
        self._know(Padding.ZERO)
        return canvas

    def zeroed(self) -> Tensor:
        """Return the canvas with zeros for padding; the gradient passes as it is.

        For operators whose own backward pass clears the gradient in the padding.
        """
        if self.padding is Padding.UNKNOWN:
            return self.masked(0.0)
        if self.padding is not Padding.ZERO:
            clear_in_place(self._canvas, self._sizes)
            self._know(Padding.ZERO)
        return self._canvas

    def settled(self) -> Tensor:
        """Return the canvas with finite padding, so that a zero gradient times it is zero and not NaN.

        It is owned: an operator may work on it in place.
        """
        if self.padding is not Padding.UNKNOWN:
            return self._canvas
        return self._canvas.clone() if self.is_uniform else self.masked(0.0)

    def masked(self, value: float) -> Tensor:
        """Return the canvas with ``value`` for padding, as a copy where there is any; differentiable any number of
        times."""
        if self.is_uniform:
            return self._canvas
        return torch.where(self.mask, self._canvas, self._canvas.new_full((), value))

    def with_canvas(self, canvas: Tensor, padding: Padding) -> "RaggedBatch":
        """Return a batch of the same sizes on another canvas tensor of the same extent."""
        result = RaggedBatch.__new__(RaggedBatch)
        result._canvas, result._sizes, result._mask = canvas, self._sizes, self._mask
        result._know(padding)
        return result

    def replace_canvas(self, canvas: Tensor, padding: Padding) -> None:
        """Take the result of an in-place operator."""
        if canvas.shape != self._canvas.shape:
            self._mask = None
        self._canvas = canvas
        self._know(padding)

    # The parts of a tensor's interface that do not compute.

    @property
    def shape(self) -> tuple[Any, ...]:
        """(N, C, *lengths): the spatial axes are `Length`s, one integer per image."""
        lengths = tuple(Length(values) for values in zip(*self._sizes, strict=True))
        return (self._canvas.shape[0], self._canvas.shape[1], *lengths)

    def size(self, dim: int | None = None) -> Any:
        """As ``torch.Tensor.size``, with `Length`s for the spatial axes."""
        return self.shape if dim is None else self.shape[dim]

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
    def requires_grad(self) -> bool:
        """Whether the canvas takes part in autograd."""
        return self._canvas.requires_grad

    def to(self, *args: Any, **kwargs: Any) -> "RaggedBatch":
        """As ``torch.Tensor.to`` (device, dtype, memory_format); the sizes stay."""
        moved = self._canvas.to(*args, **kwargs)
        if moved is self._canvas:
            return self
        # A narrower dtype may turn large numbers into infinity; zeros stay zeros.
        known = self.padding if moved.dtype == self.dtype or self.padding is Padding.ZERO else Padding.UNKNOWN
        return self.with_canvas(moved, known)

    def float(self) -> "RaggedBatch":
        """As ``torch.Tensor.float``."""
        return self.to(torch.float32)

    def double(self) -> "RaggedBatch":
        """As ``torch.Tensor.double``."""
        return self.to(torch.float64)

    def half(self) -> "RaggedBatch":
        """As ``torch.Tensor.half``."""
        return self.to(torch.float16)

    def cpu(self) -> "RaggedBatch":
        """As ``torch.Tensor.cpu``."""
        return self.to("cpu")

    def pin_memory(self) -> "RaggedBatch":
        """Return the batch in page-locked memory; DataLoader calls this for ``pin_memory=True``."""
        return self.with_canvas(self._canvas.pin_memory(), self.padding)

    def is_floating_point(self) -> bool:
        """Whether the canvas has a floating-point dtype."""
        return self._canvas.is_floating_point()

    def __len__(self) -> int:
        return len(self._sizes)

    def __repr__(self) -> str:
        shown = ", ".join(format_size(size) for size in self._sizes[:4])
        more = f", ... {len(self._sizes)} images" if len(self._sizes) > 4 else ""
        return f"RaggedBatch(canvas={tuple(self._canvas.shape)}, sizes=[{shown}{more}], dtype={self.dtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._canvas, self._sizes, int(self.padding))

    @classmethod
    def _dispatch(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return find_rule(function).work(function, *args, **kwargs)


def _version(canvas: Tensor) -> int:
    """How often the memory of ``canvas`` was changed in place; inference tensors do not count that."""
    return 0 if canvas.is_inference() else canvas._version


def _restore(canvas: Tensor, sizes: Sizes, padding: int) -> RaggedBatch:
    return RaggedBatch(canvas, sizes, padding=Padding(padding))


def _check(canvas: Tensor, sizes: Sizes) -> None:
    extent = tuple(canvas.shape[2:])
    if not 3 <= canvas.dim() <= 5:
        raise RaggedError(
            f"the canvas has shape {tuple(canvas.shape)}; N x C x *spatial with one to three spatial axes is required"
        )
    if not canvas.is_floating_point():
        raise RaggedError(
            f"the canvas has dtype {canvas.dtype}; a floating-point one is required", hint="canvas.float()"
        )
    if len(sizes) != canvas.shape[0]:
        raise RaggedError(
            f"{len(sizes)} sizes were given for a canvas of {canvas.shape[0]} images; one size an image is required"
        )
    for index, size in enumerate(sizes):
        if len(size) != len(extent) or any(not 1 <= a <= b for a, b in zip(size, extent, strict=True)):
            raise RaggedError(
                f"image {index} of the batch is {format_size(size)}, the canvas {format_size(extent)}: "
                f"each length must be at least 1 and at most the canvas'"
            )
