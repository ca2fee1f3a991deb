"""Variance and standard deviation over plain and spatial axes, of each image's own pixels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.pixels.reducing import Reduction, places_of
from anysize.ragged.registry import refusal, register_rule, spellings

__all__: list[str] = []

_STD = spellings("std")
_STD_MEAN = spellings("std_mean")


def _read(
    function: Callable[..., Any], input: Any, dim: Any, unbiased: Any, options: dict[str, Any]
) -> tuple[Reduction, float]:
    """Read the arguments of ``var``: over which axes, and what is taken off the count."""
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")
    dim = options.pop("axis", dim)
    correction = options.pop("correction", None)
    if any(value is not None for value in options.values()):
        raise refusal(function, f"the options {sorted(options)} have no exact rule")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return Reduction(input, places_of(function, input, dim)), correction


def _moments(reduction: Reduction, correction: float) -> tuple[Tensor, Tensor]:
    """Return variance and mean, the reduced axes one long. In two passes: large means leave the variance exact."""
    input, places = reduction.input, reduction.places
    if not reduction.over_space:
        return torch.var_mean(input.zeroed(), places, correction=correction, keepdim=True)
    counts = reduction.counts(input.device)
    canvas = input.masked(0.0).to(torch.promote_types(input.dtype, torch.float32))
    mean = canvas.sum(places, keepdim=True) / counts
    centred = (canvas - mean).where(input.mask, canvas.new_zeros(()))
    squares = centred.square().sum(places, keepdim=True)
    variance = squares / (counts - correction).clamp(min=0)  # type: ignore[union-attr]
    return variance.to(input.dtype), mean.to(input.dtype)


def _root(variance: Tensor) -> Tensor:
    """The square root, with a derivative of zero at zero, as ``torch.std`` has it."""
    is_zero = variance == 0
    return variance.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)


@register_rule(*spellings("var"), *spellings("std"), any_layout=True)
def variance(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, unbiased: Any = None, keepdim: bool = False,
    **options: Any,
) -> RaggedBatch | Tensor:  # fmt: skip
    """Variance or standard deviation over axes."""
    reduction, correction = _read(function, input, dim, unbiased, options)
    values, _ = _moments(reduction, correction)
    if function in _STD:
        values = _root(values)
    return _finished(reduction, values, keepdim)


@register_rule(*spellings("var_mean"), *spellings("std_mean"), any_layout=True)
def variance_and_mean(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, unbiased: Any = None, keepdim: bool = False,
    **options: Any,
) -> tuple[RaggedBatch | Tensor, RaggedBatch | Tensor]:  # fmt: skip
    """Variance or standard deviation, and mean, over axes."""
    reduction, correction = _read(function, input, dim, unbiased, options)
    values, mean = _moments(reduction, correction)
    if function in _STD_MEAN:
        values = _root(values)
    return _finished(reduction, values, keepdim), _finished(reduction, mean, keepdim)


def _finished(reduction: Reduction, values: Tensor, keepdim: bool) -> RaggedBatch | Tensor:
    # A variance of too few numbers is NaN, in the padding too.
    return reduction.result(values, Padding.UNKNOWN if reduction.over_space else Padding.FINITE, keepdim=keepdim)
