"""Normalisation of each pixel by itself, over plain axes: layer, RMS and local response normalisation."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.registry import refusal, register_rule

__all__: list[str] = []


@register_rule(functional.layer_norm, torch.layer_norm, functional.rms_norm, torch.rms_norm, any_layout=True)
def layer_norm(
    function: Callable[..., Any], input: RaggedBatch, normalized_shape: Sequence[Any], *args: Any, **kwargs: Any
) -> RaggedBatch:
    """Normalise each pixel over its last, plain axes: (N, H, W, C) -> the same (Ba, Kiros and Hinton 2016)."""
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")
    shape = tuple(normalized_shape) if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    if any(input.layout[-len(shape) :]):
        raise refusal(
            function,
            f"its normalized_shape {shape} covers space, whose size differs from image to image; it is exact over "
            f"channels that come last, (N, H, W, C)",
        )
    return input.with_canvas(function(input.settled(), normalized_shape, *args, **kwargs), Padding.FINITE)


@register_rule(functional.local_response_norm)
def local_response_norm(
    function: Callable[..., Any], input: RaggedBatch, size: int, alpha: float = 1e-4, beta: float = 0.75,
    k: float = 1.0,
) -> RaggedBatch:  # fmt: skip
    """Divide by the neighbouring channels' strength: (N, C, *spatial) -> the same (Krizhevsky et al. 2012)."""
    # Zeros give zero over k; where k is zero, ones are divided by something.
    canvas = input.zeroed() if k > 0 else input.masked(1.0)
    return input.with_canvas(function(canvas, size, alpha, beta, k), Padding.FINITE)
