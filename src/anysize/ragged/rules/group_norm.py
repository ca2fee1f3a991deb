"""Normalisation of each image by itself, over its own pixels: group and instance normalisation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import ImageSizeError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.group import RaggedGroup
from anysize.ragged.lengths import product
from anysize.ragged.normalising.image_norm import normalise_images
from anysize.ragged.registry import refusal, register_rule

__all__: list[str] = []


@register_rule(functional.group_norm)
def group_norm(
    function: Callable[..., Any], input: RaggedBatch, num_groups: int, weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5,
) -> RaggedBatch:  # fmt: skip
    """Normalise each image over its pixels and groups of channels: (N, C, *spatial) -> the same (Wu and He 2018)."""
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")
    if input.is_uniform:
        return input.with_canvas(function(input.canvas, num_groups, weight, bias, eps), Padding.ZERO)
    if input.canvas.shape[1] % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{tuple(input.canvas.shape)} and num_groups={num_groups}"
        )
    canvas, _, _ = normalise_images(input, num_groups, weight, bias, eps)
    return input.with_canvas(canvas, Padding.FINITE)


@register_rule(torch.group_norm)
def native_group_norm(
    function: Callable[..., Any], input: RaggedBatch, num_groups: int, weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5, cudnn_enabled: bool = True,  # noqa: ARG001 - how, not what
) -> RaggedBatch:  # fmt: skip
    """As ``functional.group_norm``."""
    del function
    return functional.group_norm(input, num_groups, weight, bias, eps)  # type: ignore[return-value, arg-type]


@register_rule(functional.instance_norm, whole_group=True)
def instance_norm(
    function: Callable[..., Any],
    input: RaggedBatch | RaggedGroup,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> RaggedBatch | RaggedGroup:
    """Normalise each channel of each image over its pixels: (N, C, *spatial) -> the same (Ulyanov et al. 2016).

    Running statistics are updated once, by the mean of all images' own, as torch does for images of one size.

    Raises:
        ImageSizeError: an image of one pixel, where its own statistics are asked for.
    """
    if not isinstance(input, RaggedBatch | RaggedGroup):
        raise refusal(function, "only its input may be ragged")
    parts = input.parts if isinstance(input, RaggedGroup) else (input,)
    if not all(part.is_canonical for part in parts):
        raise refusal(function, "it works on (N, C, *spatial), and the axes of this batch were rearranged")
    if not use_input_stats:
        results = [functional.batch_norm(p.settled(), running_mean, running_var, weight, bias, eps=eps) for p in parts]
    else:
        _check_pixels(input)
        done = [normalise_images(part, part.canvas.shape[1], weight, bias, eps) for part in parts]
        results = [canvas for canvas, _, _ in done]
        _update(running_mean, [mean for _, mean, _ in done], momentum)
        _update(running_var, [_unbiased(part, var) for part, (_, _, var) in zip(parts, done, strict=True)], momentum)
    batches = [part.with_canvas(result, Padding.FINITE) for part, result in zip(parts, results, strict=True)]
    return RaggedGroup(batches) if isinstance(input, RaggedGroup) else batches[0]


def _check_pixels(input: RaggedBatch | RaggedGroup) -> None:
    if torch.compiler.is_compiling():
        return
    for index, size in enumerate(input.sizes):
        if math.prod(size) == 1:
            raise ImageSizeError(
                f"image {index} of the batch is one pixel where it reaches instance_norm; a variance needs two or more",
                hint="use larger images, or a model with a smaller stride",
            )


def _unbiased(part: RaggedBatch, variance: Tensor) -> Tensor:
    area = product(part.lengths).tensor(variance.device).to(variance.dtype)[:, None]
    return variance * (area / (area - 1))


@torch.no_grad()
def _update(running: Tensor | None, values: Sequence[Tensor], momentum: float) -> None:
    if running is not None:
        running.lerp_(torch.cat(list(values)).mean(0).to(running.dtype), momentum)
