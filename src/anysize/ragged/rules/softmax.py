"""Softmax and its relatives: over plain axes as they are, over space among the real pixels only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.pixels.operands import align
from anysize.ragged.pixels.reducing import Reduction, places_of
from anysize.ragged.registry import refusal, register_rule, spellings

__all__: list[str] = []

_SOFTMIN = spellings("softmin")


def _one_axis(function: Callable[..., Any], input: Any, dim: Any) -> Reduction:
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")
    if dim is None:
        raise refusal(function, "without dim= it guesses the axis; say dim=1 for channels")
    return Reduction(input, places_of(function, input, dim))


@register_rule(*spellings("softmax"), *spellings("log_softmax"), *spellings("softmin"), any_layout=True)
def softmax(
    function: Callable[..., Any], input: RaggedBatch, dim: int | None = None, _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> RaggedBatch:  # fmt: skip
    """Normalise exponentials along one axis: the same sizes. Real pixels share among themselves alone."""
    if isinstance(_stacklevel, torch.dtype):  # the third argument of torch.softmax and of the method
        dtype = _stacklevel
    reduction = _one_axis(function, input, dim)
    if not reduction.over_space:
        return input.with_canvas(function(input.settled(), dim, dtype=dtype), Padding.FINITE)
    # Not the lowest finite number: a network may have set real ones to that. Where all is padding it gives NaN, which
    # is cleared, and which the fill keeps from travelling back.
    fill = torch.inf if function in _SOFTMIN else -torch.inf
    result = function(input.masked(fill), dim, dtype=dtype)
    return input.with_canvas(result, Padding.FINITE).with_zeros()


@register_rule(functional.gumbel_softmax, any_layout=True)
def gumbel_softmax(
    function: Callable[..., Any], logits: RaggedBatch, tau: float = 1, hard: bool = False, eps: float = 1e-10,
    dim: int = -1,
) -> RaggedBatch:  # fmt: skip
    """Sample along a plain axis: the same sizes."""
    if _one_axis(function, logits, dim).over_space:
        raise refusal(function, "over space it has no exact rule; over channels it has")
    return logits.with_canvas(function(logits.settled(), tau, hard, eps, dim), Padding.FINITE)


@register_rule(functional.normalize, any_layout=True)
def normalize(
    function: Callable[..., Any], input: RaggedBatch, p: float = 2.0, dim: Any = 1, eps: float = 1e-12,
    out: Tensor | None = None,
) -> RaggedBatch:  # fmt: skip
    """Divide by the norm over axes: the same sizes."""
    if not isinstance(input, RaggedBatch) or out is not None:
        raise refusal(function, "only its input may be ragged, and out= has no exact rule")
    norm: Any = torch.linalg.vector_norm(input, p, dim, keepdim=True)  # by its own rule, as the rest
    return input / norm.clamp_min(eps)  # type: ignore[no-any-return]


@register_rule(functional.cosine_similarity, torch.cosine_similarity, any_layout=True)
def cosine_similarity(
    function: Callable[..., Any], x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8
) -> RaggedBatch | Tensor:
    """Cosine of the angle between vectors along a plain axis, pixel by pixel: (N, C, *spatial) -> (N, *spatial)."""
    aligned = align(function, (x1, x2), 1.0)
    if any(isinstance(x, Tensor) and x.dim() != aligned.like.dim() for x in (x1, x2)):
        raise refusal(function, "its operands must have the same number of axes")
    first, second = torch.broadcast_tensors(*aligned.values)  # type: ignore[no-untyped-call]
    both = aligned.batch(first, Padding.UNKNOWN)
    reduction = _one_axis(function, both, dim)
    if reduction.over_space:
        raise refusal(function, "over space it has no exact rule; over channels it has")
    values = function(first, second, dim, eps).unsqueeze(dim % both.dim())
    return reduction.result(values, Padding.FINITE, keepdim=False)
