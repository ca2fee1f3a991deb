"""Convolution: zeros right beyond each image's border, as if the image were alone."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.kernels import convolve
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.windows import output_lengths, per_axis
from anysize.sizes import Window

__all__: list[str] = []


@register_rule(functional.conv1d, functional.conv2d, functional.conv3d)
def convolution(
    function: Callable[..., Any],
    input: RaggedBatch,
    weight: Any,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> RaggedBatch:
    """Convolve a ragged batch: (N, C_in, *spatial) -> (N, C_out, *spatial').

    Only outputs near the right and bottom border read beyond an image, and there only the pixels that the padding
    argument puts there: with ``padding=0`` nothing is cleared, otherwise the canvas is, so that they read zeros.
    """
    if not isinstance(input, RaggedBatch) or isinstance(weight, RaggedBatch):
        raise refusal(function, "only its input may be ragged, not its weight")
    make = _windows if torch.compiler.is_compiling() else _kept_windows  # a cache is no business of a graph's
    windows = make(tuple(weight.shape[2:]), _fixed(stride), _fixed(padding), _fixed(dilation))
    lengths = output_lengths(function, input, windows)
    reads_beyond = any(window.padding_after > 0 for window in windows)
    canvas = input.cleared() if reads_beyond else input.settled()
    result = convolve(function, canvas, weight, bias, stride, padding, dilation, groups)
    return RaggedBatch.laid_out(result, lengths, Padding.FINITE).kept_finite()


def _fixed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _windows(kernels: tuple[int, ...], stride: Any, padding: Any, dilation: Any) -> tuple[Window, ...]:
    axes = len(kernels)
    strides, dilations = per_axis(stride, axes), per_axis(dilation, axes)
    if padding == "same":
        # As torch has it: an odd total puts the extra zero after the image.
        totals = [d * (k - 1) for d, k in zip(dilations, kernels, strict=True)]
        pads = [(total // 2, total - total // 2) for total in totals]
    else:
        pads = [(pad, pad) for pad in per_axis(0 if padding == "valid" else padding, axes)]
    return tuple(
        Window(kernel=k, stride=s, padding_before=before, padding_after=after, dilation=d)
        for k, s, (before, after), d in zip(kernels, strides, pads, dilations, strict=True)
    )


_kept_windows = lru_cache(maxsize=1024)(_windows)
