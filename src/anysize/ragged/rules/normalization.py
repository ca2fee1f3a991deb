"""Normalisation layers: statistics of the real pixels, as without padding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import ImageSizeError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.statistics import normalise_over_real_pixels

__all__: list[str] = []


@register_rule(functional.batch_norm, torch.batch_norm)
def batch_norm(
    function: Callable[..., Any],
    input: RaggedBatch,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> RaggedBatch:
    """Normalise each channel: (N, C, *spatial) -> the same (Ioffe and Szegedy 2015).

    In training the statistics, and the running ones updated from them, are those of the real pixels of all images; in
    evaluation the running ones are used.

    Raises:
        ImageSizeError: in training, fewer than two real pixels a channel.
    """
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")
    if not training:
        result = functional.batch_norm(input.settled(), running_mean, running_var, weight, bias, False, 0.0, eps)
        return input.with_canvas(result, Padding.FINITE)
    if input.num_real < 2:
        raise ImageSizeError(
            "batch_norm in training was given one real pixel per channel; a variance needs two or more",
            hint="use larger images, more images per batch, or freeze the BatchNorm statistics (module.eval())",
        )
    result, mean, variance = normalise_over_real_pixels(input.zeroed(), input.sizes, input.num_real, weight, bias, eps)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = variance * (input.num_real / (input.num_real - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return input.with_canvas(result, Padding.FINITE)

