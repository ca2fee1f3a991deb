"""Batch normalisation in training over the real pixels only, at close to the price of the native kernel.

Per channel, with M canvas pixels of which n are real (sums over all images):

* Forward. The padding is zero, so sum and sum of squares over the canvas are those of the real pixels:
  ``mean = mean_c M/n`` and ``var = (var_c + mean_c^2) M/n - mean^2``, with the canvas statistics of one native pass.
  The difference cancels where ``mean^2`` is large against ``var``; there the padding is filled with the mean, which
  adds nothing to the sum of squared deviations: ``var = var_c M/n``, without any subtraction.
* Backward (Ioffe and Szegedy 2015, section 3, with n for the number of values):
  ``dx = w/s (dy - S/n - xhat D/n)`` with ``S = sum(dy)`` and ``D = sum(dy xhat)`` over the canvas, because dy is zero
  in the padding; dx is cleared there. See `_native_backward` for how the native kernel, which divides by M, is made to
  divide by n.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import RaggedBatch
from anysize.ragged.normalising.ranks import gather_statistics, sum_over_ranks
from anysize.ragged.padding import Columns, clear_in_place, fill_in_place

__all__ = ["merge_statistics", "normalise_over_real_pixels", "normalise_traced", "real_statistics"]

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
    if values.device.type == "cpu" and values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    ratio = values.numel() / (values.shape[1] * num_real)
    if ratio == 1:
        return _canvas_statistics(values)
    if values.device.type != "cpu":
        return _two_pass_statistics(values, columns, ratio)
    mean, variance = _canvas_statistics(values)
    # In few operators: for small canvases their number is what counts.
    variance.addcmul_(mean, mean).mul_(ratio)
    mean.mul_(ratio)
    variance.addcmul_(mean, mean, value=-1)
    if float(torch.addcmul(variance, mean, mean, value=-1 / _CANCELLATION_LIMIT).min()) < 0:
        fill_in_place(values, columns, mean)
        variance = _canvas_statistics(values)[1] * ratio
        clear_in_place(values, columns)
    return mean, variance


def _canvas_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) over the whole canvas, in one native pass."""
    if values.device.type == "cpu":
        mean, variance = torch.batch_norm_update_stats(values, None, None, 0.0)
        return mean, variance
    axes = [0, *range(2, values.dim())]
    variance, mean = torch.var_mean(values.float() if values.dtype != torch.float64 else values, axes, correction=0)
    return mean, variance


def _two_pass_statistics(values: Tensor, columns: Columns, ratio: float) -> tuple[Tensor, Tensor]:
    """The same without asking whether it cancelled: on a GPU the question would wait for the queue to run empty."""
    axes = [0, *range(2, values.dim())]
    precise = torch.promote_types(values.dtype, torch.float32)
    mean = values.mean(axes, dtype=precise) * ratio
    # The padding becomes the mean, as the canvas' dtype has it, so it adds next to nothing to the squared deviations.
    fill_in_place(values, columns, mean)
    filled = mean.to(values.dtype).to(precise)
    variance, canvas_mean = torch.var_mean(values.to(precise), axes, correction=0)
    clear_in_place(values, columns)
    # Of all pixels about the filled value, less those of the padding, which are none; then about the true mean.
    squares = (variance + (canvas_mean - filled).square()) * ratio
    return mean, (squares - (mean - filled).square()).clamp_min(0)


def merge_statistics(parts: Sequence[tuple[Tensor, Tensor, int | Tensor]]) -> tuple[Tensor, Tensor]:
    """Merge (mean, biased variance, number of pixels) of several canvases into mean and variance of all pixels.

    By deviations from the common mean (Chan, Golub and LeVeque 1979), which does not cancel.
    """
    if len(parts) == 1:
        return parts[0][:2]
    total = sum(count for _, _, count in parts)
    zero = torch.zeros((), device=parts[0][0].device)
    mean = sum((part_mean * (count / total) for part_mean, _, count in parts), zero)
    variance = sum(
        ((part_variance + (part_mean - mean).square()) * (count / total) for part_mean, part_variance, count in parts),
        zero,
    )
    return mean, variance


class _Normalise(torch.autograd.Function):
    """(w, b, mean, var, x_1, x_2...) -> w (x_k - mean)/sqrt(var + eps) + b, mean and var being those of all x_k."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float,
        columns: Sequence[Columns], num_real: int | Tensor, ranks: Any, *canvases: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(weight, mean, variance, *canvases)
        ctx.eps, ctx.columns, ctx.num_real, ctx.ranks = eps, columns, num_real, ranks
        return tuple(functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps) for x in canvases)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, mean, variance, *canvases = ctx.saved_tensors
        wants_canvas = any(ctx.needs_input_grad[8:])
        precise = canvases[0].dtype in (torch.float32, torch.float64) and canvases[0].device.type == "cpu"
        if len(canvases) == 1 and ctx.ranks is None and precise and wants_canvas:
            scale = torch.rsqrt(variance + ctx.eps)
            dx, d_weight, d_bias = _native_backward(
                grads[0], canvases[0], weight, mean, scale, ctx.columns[0], ctx.num_real
            )
            d_canvases: list[Tensor | None] = [dx]
        else:
            d_weight, d_bias = _affine_gradients(grads, canvases, mean, variance, ctx.eps)
            d_canvases = [None] * len(canvases)
            if wants_canvas:
                totals = d_weight, d_bias
                if ctx.ranks is not None:
                    totals = sum_over_ranks(d_weight, ctx.ranks), sum_over_ranks(d_bias, ctx.ranks)
                d_canvases = _canvas_gradients(ctx, grads, canvases, weight, mean, variance, totals)
        wants_weight, wants_bias = ctx.needs_input_grad[:2]
        return (
            d_weight.to(weight.dtype) if wants_weight else None,
            d_bias.to(mean.dtype) if wants_bias else None,
            None, None, None, None, None, None, *d_canvases,
        )  # fmt: skip


def _native_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, inverse_std: Tensor, columns: Columns, num_real: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of canvas, weight and bias by the native kernel, made to divide by n in place of M.

    The kernel computes ``(dy - sum(dy)/M - (x - m) sum(dy (x - m)) s'^2/M) s' w'`` from its arguments. With
    ``s' = s sqrt(M/n)`` and ``w' = w sqrt(n/M)`` the last term is right. For the second, one padded pixel is lent
    ``dy = sum(dy) (M - n)/n``, which makes the sum over the canvas ``M/n`` times what it was, and ``x = m``, so that it
    adds nothing to the other sum. One pass over dy more than native; by the affine form it would be two over x and dy.
    """
    num_channels = x.shape[1]
    num_canvas = x.numel() // num_channels
    unit = torch.ones_like(mean) if weight is None else weight
    corner = next((i for i, size in enumerate(zip(*columns, strict=True)) if size != tuple(x.shape[2:])), None)
    if corner is None:
        gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
            dy, x, unit, None, None, mean, inverse_std, True, 0.0, [True, True, True]
        )
        return gradients
    dy = _dense(dy)
    ratio = num_canvas / num_real
    root = ratio**0.5
    total = _channel_sums(dy)
    # The last pixel of a canvas that its image does not fill is padding.
    lent_dy, lent_x = _last_pixel(dy, corner), _last_pixel(x, corner)
    before = lent_x.clone()
    lent_dy.copy_(total * ((num_canvas - num_real) / num_real))
    lent_x.copy_(mean)
    dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward.default(
        dy, x, unit / root, None, None, mean, inverse_std * root, True, 0.0, [True, True, True]
    )
    lent_dy.zero_()
    lent_x.copy_(before)
    clear_in_place(dx, columns)
    return dx, d_weight.div_(root), d_bias.div_(ratio)


def _last_pixel(canvas: Tensor, number: int) -> Tensor:
    """View the last pixel (C,) of image ``number``'s part of a canvas, unseen by autograd."""
    offset = number * canvas.stride(0)
    for axis in range(2, canvas.dim()):
        offset += (canvas.shape[axis] - 1) * canvas.stride(axis)
    return canvas.data.as_strided((canvas.shape[1],), (canvas.stride(1),), canvas.storage_offset() + offset)


def _dense(dy: Tensor) -> Tensor:
    """A gradient may be expanded, with many pixels in one place; lending one of them would change them all."""
    shared = any(stride == 0 and length > 1 for stride, length in zip(dy.stride(), dy.shape, strict=True))
    return dy.contiguous() if shared else dy


def _channel_sums(dy: Tensor) -> Tensor:
    """Sum (N, C, *spatial) to (C,)."""
    pixels = dy.movedim(1, -1)
    if pixels.is_contiguous():  # one pass by BLAS; a reduction over all axes but the last is slower on a CPU
        rows = pixels.reshape(-1, dy.shape[1])
        return torch.mv(rows.t(), _ones(len(rows), rows.dtype))
    return dy.sum([0, *range(2, dy.dim())])


@lru_cache(maxsize=16)  # the canvases of a step, and no more: they are as long as a canvas has pixels
def _ones(length: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(length, dtype=dtype)


def _canvas_gradients(
    ctx: Any, grads: Sequence[Tensor], canvases: Sequence[Tensor], weight: Tensor | None, mean: Tensor,
    variance: Tensor, totals: tuple[Tensor, Tensor],
) -> list[Tensor | None]:  # fmt: skip
    """Return dx of each canvas from the totals D and S over all of them."""
    inverse_std = torch.rsqrt(variance + ctx.eps)
    scale = inverse_std if weight is None else inverse_std * weight
    # dx = scale dy + slope (x - mean) + offset, the part in x by the native affine kernel.
    slope = -scale * inverse_std * totals[0] / ctx.num_real
    offset = -scale * totals[1] / ctx.num_real
    unit = torch.ones_like(variance)
    gradients: list[Tensor | None] = []
    for columns, dy, x in zip(ctx.columns, grads, canvases, strict=True):
        dx = functional.batch_norm(x, mean, unit, slope, offset, False, 0.0, 0.0)
        factor = scale.reshape(1, -1, *(1,) * (x.dim() - 2))
        if dx.dtype == factor.dtype:
            dx.addcmul_(dy, factor)
        else:  # rounded once, at the end: a rounded factor would err in the same direction everywhere
            dx = torch.addcmul(dx.to(factor.dtype), dy.to(factor.dtype), factor).to(dx.dtype)
        clear_in_place(dx, columns)
        gradients.append(dx)
    return gradients


def _affine_gradients(
    grads: Sequence[Tensor], canvases: Sequence[Tensor], mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Sum dy xhat and dy over all pixels: the gradients of weight and bias (C,)."""
    d_weight, d_bias = torch.zeros_like(mean), torch.zeros_like(mean)
    for dy, x in zip(grads, canvases, strict=True):
        # The native kernel gives just these sums when it is told that the statistics are constants.
        _, part_weight, part_bias = torch.ops.aten.native_batch_norm_backward(
            # A GPU's kernel reads the saved statistics, a CPU's the running ones.
            dy,
            x,
            torch.ones_like(mean),
            mean,
            variance,
            mean,
            torch.rsqrt(variance + eps),
            False,
            eps,
            [False, True, True],
        )
        d_weight += part_weight
        d_bias += part_bias
    return d_weight, d_bias


def normalise_over_real_pixels(
    batches: Sequence[RaggedBatch], weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Any = None
) -> tuple[list[Tensor], Tensor, Tensor, int | Tensor]:
    """Normalise with the statistics of the real pixels of all batches.

    Args:
        batches: one or more of the same number of channels C, with two real pixels or more in all.
        weight: (C,) or None.
        bias: (C,) or None.
        eps: added to the variance.
        ranks: a process group, whose ranks' batches count as well; None for this process alone.

    Returns:
        The canvases, mean (C,), biased variance (C,), and the number of real pixels.
    """
    canvases = [batch.zeroed() for batch in batches]
    columns = [batch.columns for batch in batches]
    num_real: int | Tensor = sum(batch.num_real for batch in batches)
    mean, variance = merge_statistics(
        [
            (*real_statistics(canvas, batch.columns, batch.num_real), batch.num_real)
            for canvas, batch in zip(canvases, batches, strict=True)
        ]
    )
    if ranks is not None:
        of_ranks = gather_statistics(mean, variance, num_real, ranks)
        mean, variance = merge_statistics(of_ranks)
        num_real = sum((count for _, _, count in of_ranks), torch.zeros((), device=mean.device))
    results = _Normalise.apply(weight, bias, mean, variance, eps, columns, num_real, ranks, *canvases)  # type: ignore[no-untyped-call]
    return list(results), mean, variance, num_real


def normalise_traced(
    batch: RaggedBatch, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same for one batch in operators that a compiler differentiates and fuses.

    Returns:
        The canvas, mean (C,), biased variance (C,), and the number of real pixels, all of them tensors.
    """
    x = batch.masked(0.0)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    areas = torch.ones((), dtype=torch.int64, device=x.device)
    for length in batch.lengths:
        areas = areas * length.tensor(x.device)
    num_real = areas.sum().to(x.dtype)
    axes = [0, *range(2, x.dim())]
    shape = (1, -1, *(1,) * batch.spatial_axes)
    mean = x.sum(axes) / num_real
    deviations = torch.where(batch.mask, x - mean.reshape(shape), x.new_zeros(()))
    variance = deviations.square().sum(axes) / num_real
    scale = torch.rsqrt(variance + eps) if weight is None else torch.rsqrt(variance + eps) * weight
    result = deviations * scale.reshape(shape)
    if bias is not None:
        result = result + bias.reshape(shape)
    return result.to(batch.dtype), mean, variance, num_real
