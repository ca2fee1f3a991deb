"""Batch normalisation in training over the real pixels only, at close to the price of the native kernel.

Per channel, with N canvas pixels of which n are real (sums over all images):

* Forward. The padding is zero, so sum and sum of squares over the canvas are those of the real pixels:
  ``mean = mean_c N/n`` and ``var = (var_c + mean_c^2) N/n - mean^2``, with the canvas statistics of one native pass.
  The difference cancels where ``mean^2`` is large against ``var``; there the padding is filled with the mean, which
  adds nothing to the sum of squared deviations: ``var = var_c N/n``, without any subtraction.
* Backward (Ioffe and Szegedy 2015, section 3, with n for the number of values):
  ``dx = w/s (dy - sum(dy)/n - xhat sum(dy xhat)/n)``, an affine map of x and dy per channel. The sums run over the
  canvas, because dy is zero in the padding; dx is cleared there.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import RaggedBatch
from anysize.ragged.padding import Columns, clear_in_place, fill_in_place

__all__ = ["merge_statistics", "normalise_over_real_pixels", "real_statistics"]

# The subtraction rounds at mean^2 times the precision, however little padding there is: above this ratio of mean^2 to
# variance it would cost more than two decimal digits, and the second pass is made.
_CANCELLATION_LIMIT = 100.0


def real_statistics(canvas: Tensor, columns: Columns, num_real: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance (C,) of the real pixels, in float32 at least.

    Args:
        canvas: (N, C, *spatial) with zeros for padding, owned: its padding may be written to, and is zero at the end.
        columns: the true lengths.
        num_real: the number of real pixels.
    """
    values = canvas.detach()
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    mean, variance = _canvas_statistics(values)
    num_canvas = values.numel() // values.shape[1]
    if num_canvas == num_real:
        return mean, variance
    ratio = num_canvas / num_real
    squares = (variance + mean.square()) * ratio
    mean = mean * ratio
    variance = squares - mean.square()
    if bool((mean.square() > _CANCELLATION_LIMIT * variance).any()):
        fill_in_place(values, columns, mean)
        variance = _canvas_statistics(values)[1] * ratio
        clear_in_place(values, columns)
    return mean, variance.clamp_min(0)


def _canvas_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) over the whole canvas, in one native pass on a CPU."""
    if values.device.type == "cpu":
        mean, variance = torch.batch_norm_update_stats(values, None, None, 0.0)
        return mean, variance
    axes = [0, *range(2, values.dim())]
    variance, mean = torch.var_mean(values, axes, correction=0)
    return mean, variance


def merge_statistics(parts: Sequence[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Merge (mean, biased variance, number of pixels) of several canvases into mean and variance of all pixels.

    By deviations from the common mean (Chan, Golub and LeVeque 1979), which does not cancel.
    """
    if len(parts) == 1:
        return parts[0][:2]
    total = sum(count for _, _, count in parts)
    mean = sum((part_mean * (count / total) for part_mean, _, count in parts), torch.zeros(()))
    variance = sum(
        ((part_variance + (part_mean - mean).square()) * (count / total) for part_mean, part_variance, count in parts),
        torch.zeros(()),
    )
    return mean, variance


class _Normalise(torch.autograd.Function):
    """(w, b, mean, var, x_1, x_2...) -> w (x_k - mean)/sqrt(var + eps) + b, mean and var being those of all x_k."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float,
        columns: Sequence[Columns], num_real: int, *canvases: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(weight, mean, variance, *canvases)
        ctx.eps, ctx.columns, ctx.num_real = eps, columns, num_real
        return tuple(functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps) for x in canvases)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, mean, variance, *canvases = ctx.saved_tensors
        d_weight, d_bias = _affine_gradients(grads, canvases, mean, variance, ctx.eps)
        d_canvases: list[Tensor | None] = [None] * len(canvases)
        if any(ctx.needs_input_grad[7:]):
            inverse_std = torch.rsqrt(variance + ctx.eps)
            scale = inverse_std if weight is None else inverse_std * weight
            # dx = scale dy + slope (x - mean) + offset, the part in x by the native affine kernel.
            slope = -scale * inverse_std * d_weight / ctx.num_real
            offset = -scale * d_bias / ctx.num_real
            unit = torch.ones_like(variance)
            for number, (dy, x) in enumerate(zip(grads, canvases, strict=True)):
                dx = functional.batch_norm(x, mean, unit, slope, offset, False, 0.0, 0.0)
                dx.addcmul_(dy, scale.to(dy.dtype).reshape(1, -1, *(1,) * (x.dim() - 2)))
                clear_in_place(dx, ctx.columns[number])
                d_canvases[number] = dx
        wants_weight, wants_bias = ctx.needs_input_grad[:2]
        return (
            d_weight.to(weight.dtype) if wants_weight else None,
            d_bias.to(mean.dtype) if wants_bias else None,
            None, None, None, None, None, *d_canvases,
        )  # fmt: skip


def _affine_gradients(
    grads: Sequence[Tensor], canvases: Sequence[Tensor], mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Sum dy xhat and dy over all pixels: the gradients of weight and bias (C,)."""
    d_weight, d_bias = torch.zeros_like(mean), torch.zeros_like(mean)
    for dy, x in zip(grads, canvases, strict=True):
        # The native kernel gives just these sums when it is told that the statistics are constants.
        _, part_weight, part_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, torch.ones_like(mean), mean, variance, None, None, False, eps, [False, True, True]
        )
        d_weight += part_weight
        d_bias += part_bias
    return d_weight, d_bias


def normalise_over_real_pixels(
    batches: Sequence[RaggedBatch], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Normalise with the statistics of the real pixels of all batches: returns (canvases, mean, biased variance).

    Args:
        batches: one or more of the same number of channels C, with two real pixels or more in all.
        weight: (C,) or None.
        bias: (C,) or None.
        eps: added to the variance.
    """
    canvases = [batch.zeroed() for batch in batches]
    columns = [batch.columns for batch in batches]
    parts = [
        (*real_statistics(canvas, batch.columns, batch.num_real), batch.num_real)
        for canvas, batch in zip(canvases, batches, strict=True)
    ]
    mean, variance = merge_statistics(parts)
    num_real = sum(batch.num_real for batch in batches)
    results = _Normalise.apply(weight, bias, mean, variance, eps, columns, num_real, *canvases)  # type: ignore[no-untyped-call]
    return list(results), mean, variance
