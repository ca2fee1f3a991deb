"""Each image normalised by itself: mean and variance over its real pixels and a group of channels."""

from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import RaggedBatch
from anysize.ragged.lengths import product
from anysize.ragged.padding import Columns, clear_in_place

__all__ = ["normalise_images"]


def normalise_images(
    input: RaggedBatch, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each group of channels of each image to mean 0 and variance 1, then scale and shift each channel.

    Args:
        input: (N, C, *spatial).
        num_groups: G, a divisor of C.
        weight: (C,) or None.
        bias: (C,) or None.
        eps: added to the variance.

    Returns:
        The canvas, with finite padding; mean and variance (N, G), which are not differentiable.
    """
    dtype = torch.promote_types(input.dtype, torch.float32)  # half precision holds no sum
    area = product(input.lengths).tensor(input.device)
    counts = (area * (input.canvas.shape[1] // num_groups)).to(dtype)[:, None]  # (N, 1)
    weight, bias = _converted(weight, dtype), _converted(bias, dtype)
    # A custom function has no second derivative, and no graph could be made of the sizes it would hold.
    if torch.compiler.is_compiling():
        canvas, mean, variance = _composed(input, num_groups, counts, weight, bias, eps, dtype)
    else:
        given = (input.zeroed(), input.columns, counts, num_groups, weight, bias, eps, dtype)
        canvas, mean, variance = _Normalise.apply(*given)  # type: ignore[no-untyped-call]
    return canvas.to(_result_dtype(input)), mean.detach(), variance.detach()


def _converted(parameter: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if parameter is None else parameter.to(dtype)


def _result_dtype(input: RaggedBatch) -> torch.dtype:
    """That of the input, but for CUDA's autocast, which has these layers in float32."""
    if input.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.promote_types(input.dtype, torch.float32)
    return input.dtype


def _composed(
    input: RaggedBatch, num_groups: int, counts: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The same in differentiable operations."""
    canvas = input.masked(0.0).to(dtype)
    axes = tuple(range(2, canvas.dim()))
    mean = _by_group(canvas.sum(axes), num_groups) / counts  # (N, G)
    centred = canvas - _by_channel(mean, canvas)
    centred = torch.where(input.mask, centred, centred.new_zeros(()))
    variance = _by_group(centred.square().sum(axes), num_groups) / counts
    scale = _by_channel((variance + eps).rsqrt(), canvas)
    result = centred * (scale if weight is None else scale * _as_channels(weight, canvas))
    return result if bias is None else result + _as_channels(bias, canvas), mean, variance


def _by_group(sums: Tensor, num_groups: int) -> Tensor:
    """Add up sums (N, C) over groups of channels: (N, G)."""
    return sums.reshape(sums.shape[0], num_groups, -1).sum(2)


def _by_channel(values: Tensor, canvas: Tensor) -> Tensor:
    """Spread values (N, G) over the channels: (N, C, 1, ...)."""
    spread = values.repeat_interleave(canvas.shape[1] // values.shape[1], dim=1)
    return spread.reshape(*spread.shape, *(1,) * (canvas.dim() - 2))


def _as_channels(parameter: Tensor, canvas: Tensor) -> Tensor:
    return parameter.reshape(-1, *(1,) * (canvas.dim() - 2))


class _Normalise(torch.autograd.Function):
    """In two passes forwards, so that a large mean costs no digits; the canvas comes with zeros for padding."""

    @staticmethod
    def forward(
        ctx: Any, canvas: Tensor, columns: Columns, counts: Tensor, num_groups: int, weight: Tensor | None,
        bias: Tensor | None, eps: float, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        axes = tuple(range(2, canvas.dim()))
        mean = _by_group(canvas.sum(axes, dtype=dtype), num_groups) / counts
        centred = canvas - _by_channel(mean, canvas)  # in the wider dtype: means are
        clear_in_place(centred, columns)
        # The norm squared: one pass, and no canvas of squares.
        norms = torch.linalg.vector_norm(centred, 2, axes)
        variance = _by_group(norms.square(), num_groups) / counts
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(centred, scale, counts, weight)
        ctx.columns, ctx.dtype, ctx.has_bias = columns, canvas.dtype, bias is not None
        ctx.mark_non_differentiable(mean, variance)
        factor = _by_channel(scale, canvas)
        factor = factor if weight is None else factor * _as_channels(weight, canvas)
        result = centred * factor if bias is None else torch.addcmul(_as_channels(bias, canvas), centred, factor)
        return result, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        centred, scale, counts, weight = ctx.saved_tensors
        grad = grads[0]
        assert grad is not None  # noqa: S101 - the other outputs have no gradient
        axes = tuple(range(2, centred.dim()))
        num_groups = scale.shape[1]
        by_channel = scale.repeat_interleave(centred.shape[1] // num_groups, dim=1)  # (N, C)
        sums, products = grad.sum(axes), (grad * centred).sum(axes)  # (N, C)
        grad_weight = (products * by_channel).sum(0) if weight is not None else None
        grad_bias = sums.sum(0) if ctx.has_bias else None
        grad_canvas = None
        if ctx.needs_input_grad[0]:
            weighted = (sums, products) if weight is None else (sums * weight, products * weight)
            mean_grad, mean_product = (_by_group(value, num_groups) / counts for value in weighted)
            # scale * (w g - mean(w g) - centred scale^2 mean(w g centred)), the padding apart.
            factor = by_channel if weight is None else by_channel * weight
            shift = _by_channel(-scale * mean_grad, centred)
            grad_canvas = torch.addcmul(shift, grad, factor.reshape(*factor.shape, *(1,) * len(axes)))
            grad_canvas.addcmul_(centred, _by_channel(scale**3 * mean_product, centred), value=-1)
            clear_in_place(grad_canvas, ctx.columns)
            grad_canvas = grad_canvas.to(ctx.dtype)
        return grad_canvas, None, None, None, grad_weight, grad_bias, None, None
