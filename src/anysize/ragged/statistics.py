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

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.padding import Sizes, clear_in_place, fill_in_place

__all__ = ["normalise_over_real_pixels", "real_statistics"]

# Above this ratio of mean^2 to variance (weighed by the padding's share) the cheap formula would lose more than about
# one decimal digit, and the second pass is made.
_CANCELLATION_LIMIT = 16.0


def real_statistics(canvas: Tensor, sizes: Sizes, num_real: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance (C,) of the real pixels, in float32 at least.

    Args:
        canvas: (N, C, *spatial) with zeros for padding, owned: its padding may be written to, and is zero at the end.
        sizes: the true sizes.
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
    share = 1 - num_real / num_canvas
    if bool((mean.square() * share > _CANCELLATION_LIMIT * variance).any()):
        fill_in_place(values, sizes, mean)
        variance = _canvas_statistics(values)[1] * ratio
        clear_in_place(values, sizes)
    return mean, variance.clamp_min(0)


def _canvas_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) over the whole canvas, in one native pass on a CPU."""
    if values.device.type == "cpu":
        mean, variance = torch.batch_norm_update_stats(values, None, None, 0.0)
        return mean, variance
    axes = [0, *range(2, values.dim())]
    variance, mean = torch.var_mean(values, axes, correction=0)
    return mean, variance


class _Normalise(torch.autograd.Function):
    """(x, w, b, mean, var) -> w (x - mean)/sqrt(var + eps) + b, where mean and var are those of x's real pixels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
        eps: float, sizes: Sizes, num_real: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.sizes, ctx.num_real = eps, sizes, num_real
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grads
        x, weight, mean, variance = ctx.saved_tensors
        # In evaluation mode the native kernel gives sum(dy xhat) and sum(dy), the gradients of weight and bias.
        _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight if weight is not None else torch.ones_like(mean), mean, variance, None, None, False, ctx.eps,
            [False, True, True],
        )  # fmt: skip
        dx = None
        if ctx.needs_input_grad[0]:
            inverse_std = torch.rsqrt(variance + ctx.eps)
            scale = inverse_std if weight is None else inverse_std * weight
            # dx = scale dy + slope (x - mean) + offset, the part in x by the native affine kernel.
            slope = -scale * inverse_std * d_weight / ctx.num_real
            offset = -scale * d_bias / ctx.num_real
            unit = torch.full_like(variance, 1.0)
            dx = functional.batch_norm(x, mean, unit, slope, offset, False, 0.0, 0.0)
            shape = (1, -1, *(1,) * (x.dim() - 2))
            dx.addcmul_(dy, scale.to(dy.dtype).reshape(shape))
            clear_in_place(dx, ctx.sizes)
        wants_weight = weight is not None and ctx.needs_input_grad[1]
        wants_bias = ctx.needs_input_grad[2]
        return (
            dx,
            d_weight.to(weight.dtype) if wants_weight else None,
            d_bias if wants_bias else None,
            None, None, None, None, None,
        )  # fmt: skip


def normalise_over_real_pixels(
    canvas: Tensor,
    sizes: Sizes,
    num_real: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise with the statistics of the real pixels: returns (result, mean, biased variance).

    Args:
        canvas: (N, C, *spatial) with zeros for padding, owned.
        sizes: the true sizes.
        num_real: the number of real pixels, at least 2.
        weight: (C,) or None.
        bias: (C,) or None.
        eps: added to the variance.
    """
    mean, variance = real_statistics(canvas, sizes, num_real)
    result: Tensor = _Normalise.apply(canvas, weight, bias, mean, variance, eps, sizes, num_real)  # type: ignore[no-untyped-call]
    return result, mean, variance
