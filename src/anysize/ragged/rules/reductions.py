"""Reductions: sums, means, extremes and norms over plain and spatial axes, of each image's own pixels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.pixels.reducing import Reduction, highest, lowest, places_of
from anysize.ragged.pixels.spatial_sums import global_mean, one_pixel, real_sum
from anysize.ragged.registry import refusal, register_rule, spellings

__all__: list[str] = []

_AMAX = spellings("amax")
_MAX = spellings("max")
_ALL = spellings("all")

Reduced = RaggedBatch | Tensor


def _reduction(function: Callable[..., Any], input: Any, dim: Any, options: dict[str, Any]) -> Reduction:
    """Read the arguments that all reductions share; what is left in ``options`` is refused."""
    if not isinstance(input, RaggedBatch):
        raise refusal(function, "only its input may be ragged")
    axis = options.pop("axis", None)
    if any(value is not None for value in options.values()):
        raise refusal(function, f"the options {sorted(options)} have no exact rule")
    return Reduction(input, places_of(function, input, dim if axis is None else axis))


def _keeps_zero(input: RaggedBatch) -> Padding:
    return max(input.padding, Padding.FINITE)


@register_rule(*spellings("mean"), any_layout=True)
def mean(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False,
    *, dtype: torch.dtype | None = None, **options: Any,
) -> Reduced:  # fmt: skip
    """Average over axes; over all of space: (N, C, *spatial) -> a plain (N, C), or (N, C, 1, ...), images of one
    pixel."""
    reduction = _reduction(function, input, dim, options)
    if not reduction.over_space:
        values = input.settled().mean(reduction.places, keepdim=True, dtype=dtype)
        return reduction.result(values, _keeps_zero(input), keepdim=keepdim)
    if reduction.over_whole_space and dtype in (None, input.dtype) and input.is_floating_point():
        return _one_pixel(input, global_mean(input), keepdim=keepdim)
    wanted = dtype or input.dtype
    # In float32 at least, as the native kernel: half precision holds neither the sum nor an area over 65,504.
    total = _masked_sum(reduction, torch.promote_types(wanted, torch.float32) if wanted.is_floating_point else wanted)
    if not wanted.is_floating_point and not wanted.is_complex:
        raise refusal(function, f"the mean of {wanted} is not of that dtype; say dtype=torch.float32")
    return reduction.result((total / reduction.counts(total.device)).to(wanted), Padding.ZERO, keepdim=keepdim)


def _masked_sum(reduction: Reduction, dtype: torch.dtype | None) -> Tensor:
    return reduction.input.masked(0.0).sum(reduction.places, keepdim=True, dtype=dtype)


def _one_pixel(input: RaggedBatch, values: Tensor, *, keepdim: bool) -> Reduced:
    return one_pixel(input, values) if keepdim else values.flatten(1)


@register_rule(*spellings("sum"), any_layout=True)
def sum_(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False,
    *, dtype: torch.dtype | None = None, **options: Any,
) -> Reduced:  # fmt: skip
    """Sum over axes; over all of space: (N, C, *spatial) -> a plain (N, C), or (N, C, 1, ...), images of one pixel."""
    reduction = _reduction(function, input, dim, options)
    if not reduction.over_space:
        values = input.settled().sum(reduction.places, keepdim=True, dtype=dtype)
        return reduction.result(values, _keeps_zero(input), keepdim=keepdim)
    if reduction.over_whole_space and dtype in (None, input.dtype) and input.is_floating_point():
        return _one_pixel(input, real_sum(input, input.dtype), keepdim=keepdim)
    return reduction.result(_masked_sum(reduction, dtype), Padding.ZERO, keepdim=keepdim)


@register_rule(*spellings("amax"), *spellings("amin"), any_layout=True)
def extreme(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = (), keepdim: bool = False, **options: Any
) -> Reduced:
    """Maximum or minimum over axes; over space of the real pixels only."""
    reduction = _reduction(function, input, dim, options)
    if not reduction.over_space:
        # Zeros in the padding give zeros. Otherwise a later clearing of the result would change what the backward
        # pass compares the input with, and divides by the number of equals: none.
        values = function(input.zeroed(), reduction.places, True)
        return reduction.result(values, Padding.ZERO, keepdim=keepdim)
    fill = lowest(input.dtype) if function in _AMAX else highest(input.dtype)
    return reduction.cleared_result(function(input.masked(fill), reduction.places, True), keepdim=keepdim)


@register_rule(*spellings("max"), *spellings("min"), any_layout=True, per_image_operands=True)
def extreme_and_place(
    function: Callable[..., Any], input: Any, dim: Any = None, keepdim: bool = False, **options: Any
) -> Any:
    """Maximum or minimum over one plain axis, and where it is; or of two operands."""
    dim = options.pop("other", dim)
    if isinstance(dim, RaggedBatch | Tensor):
        two: Any = torch.maximum if function in _MAX else torch.minimum
        return two(input, dim)
    reduction = _reduction(function, input, dim, options)
    if reduction.over_space:
        raise refusal(function, "over space its indices would be places on the canvas; amax and amin have a rule")
    found = function(input.settled(), dim, True)
    values, indices = (reduction.result(canvas, Padding.FINITE, keepdim=keepdim) for canvas in found)
    return type(found)((values, indices))


@register_rule(*spellings("argmax"), *spellings("argmin"), any_layout=True)
def place_of_extreme(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False, **options: Any
) -> Reduced:
    """Index of the maximum or minimum along a plain axis: a segmenter's label map, (N, K, H, W) -> (N, H, W)."""
    reduction = _reduction(function, input, dim, options)
    if reduction.over_space:
        raise refusal(function, "over space its result would be a place on the canvas, not on each image")
    return reduction.result(function(input.settled(), dim, True), Padding.FINITE, keepdim=keepdim)


@register_rule(*spellings("prod"), any_layout=True)
def product(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False,
    *, dtype: torch.dtype | None = None, **options: Any,
) -> Reduced:  # fmt: skip
    """Multiply along one axis."""
    reduction = _reduction(function, input, dim, options)
    return reduction.result(function(input.masked(1.0), dim, True, dtype=dtype), Padding.FINITE, keepdim=keepdim)


@register_rule(*spellings("all"), *spellings("any"), any_layout=True)
def truth(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False, **options: Any
) -> Reduced:
    """Whether all or any numbers along an axis are true."""
    reduction = _reduction(function, input, dim, options)
    fill = 1.0 if function in _ALL else 0.0
    return reduction.result(function(input.masked(fill), dim, True), Padding.FINITE, keepdim=keepdim)


@register_rule(*spellings("logsumexp"), any_layout=True)
def logsumexp(
    function: Callable[..., Any], input: RaggedBatch, dim: Any, keepdim: bool = False, **options: Any
) -> Reduced:
    """Logarithm of the sum of exponentials over axes."""
    reduction = _reduction(function, input, dim, options)
    if not reduction.over_space:
        values = function(input.zeroed(), reduction.places, True)
        return reduction.result(values, Padding.FINITE, keepdim=keepdim)
    values = function(input.masked(-torch.inf), reduction.places, True)
    return reduction.cleared_result(values, keepdim=keepdim)


@register_rule(torch.linalg.vector_norm, any_layout=True)
def vector_norm(
    function: Callable[..., Any], x: RaggedBatch, ord: Any = 2, dim: Any = None, keepdim: bool = False,
    *, dtype: torch.dtype | None = None, **options: Any,
) -> Reduced:  # fmt: skip
    """Vector norm over axes."""
    reduction = _reduction(function, x, dim, options)
    if reduction.over_space and not ord >= 0:
        raise refusal(function, f"the norm of order {ord} is not exact over space: zeros around an image are its least")
    # Zeros add nothing to a norm, and a zero has no part in its gradient.
    values = function(x.zeroed(), ord, reduction.places, True, dtype=dtype)
    return reduction.result(values, Padding.ZERO if ord > 0 else Padding.FINITE, keepdim=keepdim)


@register_rule(torch.norm, Tensor.norm, torch.linalg.norm, any_layout=True)
def norm(
    function: Callable[..., Any], input: RaggedBatch, p: Any = None, dim: Any = None, keepdim: bool = False,
    *, dtype: torch.dtype | None = None, **options: Any,
) -> Reduced:  # fmt: skip
    """Vector norm over axes, as torch spelled it before."""
    p = options.pop("ord", p)
    if any(value is not None for value in options.values()):
        raise refusal(function, f"the options {sorted(options)} have no exact rule")
    is_matrix = function is torch.linalg.norm and p is not None and isinstance(dim, list | tuple) and len(dim) == 2
    if (isinstance(p, str) and p != "fro") or is_matrix:
        raise refusal(function, f"the matrix norm {p!r} has no exact rule")
    order = 2.0 if p is None or p == "fro" else p
    vector: Any = torch.linalg.vector_norm  # a rule of its own, above
    return vector(input, order, dim, keepdim, dtype=dtype)  # type: ignore[no-any-return]
