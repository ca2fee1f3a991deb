"""Normalisation layers: statistics of the real pixels, as without padding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import ImageSizeError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.dispatch import check_layouts
from anysize.ragged.group import RaggedGroup
from anysize.ragged.normalising.statistics import normalise_over_real_pixels, normalise_traced
from anysize.ragged.registry import refusal, register_rule

__all__: list[str] = []


@register_rule(functional.batch_norm, whole_group=True)
def batch_norm(
    function: Callable[..., Any],
    input: RaggedBatch | RaggedGroup,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    ranks: Any = None,
) -> RaggedBatch | RaggedGroup:
    """Normalise each channel: (N, C, *spatial) -> the same (Ioffe and Szegedy 2015).

    In training the statistics, and the running ones updated from them, are those of the real pixels of all images, on
    whatever canvases they lie (and, with ``ranks``, of all ranks); in evaluation the running ones are used.

    Raises:
        ImageSizeError: in training, fewer than two real pixels a channel.
    """
    if not isinstance(input, RaggedBatch | RaggedGroup):
        raise refusal(function, "only its input may be ragged")
    parts = input.parts if isinstance(input, RaggedGroup) else (input,)
    check_layouts(function, parts, {})
    if not training:
        results = [
            functional.batch_norm(part.settled(), running_mean, running_var, weight, bias, False, 0.0, eps)
            for part in parts
        ]
    else:
        weight, bias = _at_least_float32(weight), _at_least_float32(bias)  # as the statistics are
        num_real: int | Tensor
        if torch.compiler.is_compiling():
            if len(parts) > 1 or ranks is not None:
                raise refusal(function, "in a compiled model it takes one batch of one rank")
            result, mean, variance, count = normalise_traced(parts[0], weight, bias, eps)
            results, num_real = [result], count
        else:
            if input.num_real < 2 and ranks is None:
                raise ImageSizeError(
                    "batch_norm in training was given one real pixel per channel; a variance needs two or more",
                    hint="use larger images, more images per batch, or freeze the BatchNorm statistics (module.eval())",
                )
            results, mean, variance, num_real = normalise_over_real_pixels(parts, weight, bias, eps, ranks)
        _update(running_mean, mean, momentum)
        _update(running_var, variance * (num_real / (num_real - 1)), momentum)
    batches = [part.with_canvas(result, Padding.FINITE) for part, result in zip(parts, results, strict=True)]
    return RaggedGroup(batches) if isinstance(input, RaggedGroup) else batches[0]


@torch.no_grad()
def _update(running: Tensor | None, value: Tensor, momentum: float) -> None:
    if running is not None:
        running.lerp_(value.to(running.dtype), momentum)


def _at_least_float32(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.to(torch.promote_types(parameter.dtype, torch.float32))
