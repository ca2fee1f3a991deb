"""Losses of maps: over the real pixels of all images, as torch has them over the concatenation of those pixels."""

import math
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import MixedSizesError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.group import RaggedGroup
from anysize.ragged.lengths import product
from anysize.ragged.pixels.operands import align, common_extents, cropped_canvas
from anysize.ragged.registry import refusal, register_rule

__all__: list[str] = []

Loss = RaggedBatch | RaggedGroup | Tensor


@register_rule(functional.cross_entropy, whole_group=True, any_layout=True)
def cross_entropy(
    function: Callable[..., Any],
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Loss:
    """Softmax cross-entropy of logits (N, K, *spatial).

    Targets: class indices, (N, *spatial), as `RaggedBatch.from_labels` lays them or on the canvas' extents; or class
    probabilities, (N, K, *spatial).
    """

    def call(logits: Tensor, labels: Tensor, how: str) -> Any:
        return function(
            logits, labels, weight, ignore_index=ignore_index, reduction=how, label_smoothing=label_smoothing
        )

    pairs = _pairs(function, input, target, reduction, (size_average, reduce))
    if pairs[0][1].is_floating_point():
        return _of_pixels(function, pairs, lambda logits, shares: call(logits, shares, "none"), reduction, classes=True)
    return _of_labels(function, pairs, call, weight, ignore_index, reduction)


@register_rule(functional.nll_loss, whole_group=True, any_layout=True)
def nll_loss(
    function: Callable[..., Any],
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Loss:
    """Negative log-likelihood of log-probabilities (N, K, *spatial); targets are class indices (N, *spatial)."""

    def call(values: Tensor, labels: Tensor, how: str) -> Any:
        # Contiguous: on a CPU its backward pass fails for maps in channels_last.
        return function(values.contiguous(), labels, weight, ignore_index=ignore_index, reduction=how)

    pairs = _pairs(function, input, target, reduction, (size_average, reduce))
    return _of_labels(function, pairs, call, weight, ignore_index, reduction)


Pair = tuple[RaggedBatch, Any]


def _pairs(function: Callable[..., Any], input: Any, target: Any, reduction: str, legacy: Sequence[Any]) -> list[Pair]:
    """Pair each batch of a group, or the one batch, with its target."""
    if any(value is not None for value in legacy):
        raise refusal(function, "size_average= and reduce= have no exact rule; reduction= has")
    if reduction not in ("mean", "sum", "none") and (reduction, function) != ("batchmean", functional.kl_div):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if isinstance(input, RaggedBatch):
        if isinstance(target, RaggedGroup):
            raise refusal(function, "a group and a single batch have no exact rule together")
        return [(input, target)]
    if not isinstance(input, RaggedGroup):
        raise refusal(function, "its target is ragged and its input is not")
    if not isinstance(target, RaggedGroup) or [len(p) for p in target.parts] != [len(p) for p in input.parts]:
        raise refusal(function, "the target of a group must be a group that is divided into parts in the same way")
    return list(zip(input.parts, target.parts, strict=True))


def _labels(function: Callable[..., Any], input: RaggedBatch, target: Any) -> tuple[RaggedBatch, Tensor]:
    """Bring logits (N, K, *spatial) and class indices (N, *spatial) onto one canvas."""
    if not input.is_canonical:
        raise refusal(function, "it works on (N, C, *spatial), and the axes of this batch were rearranged")
    layout = (input.layout[0], *input.layout[2:])
    if not isinstance(target, RaggedBatch):
        expected = (len(input), *input.extents)
        if not isinstance(target, Tensor) or tuple(target.shape) != expected:
            raise MixedSizesError(
                f"{function.__name__} was given a target of shape {tuple(target.shape)} beside logits on a canvas of "
                f"shape {tuple(input.canvas.shape)}: one of shape {expected} is required",
                hint="lay the label maps with RaggedBatch.from_labels(masks)",
            )
        target = RaggedBatch.laid_out(target, input.lengths, Padding.UNKNOWN, layout, input.extents)
    if target.layout != layout:
        raise refusal(function, "its target has other axes than (N, *spatial); lay it with RaggedBatch.from_labels")
    flat = RaggedBatch.laid_out(input.canvas[:, 0], input.lengths, input.padding, layout, input.extents)
    extents = common_extents(function, (flat, target))
    labels = cropped_canvas(function, target.canvas, target, input.lengths, extents)
    if extents != input.extents:
        canvas = cropped_canvas(function, input.canvas, input, input.lengths, extents)
        input = RaggedBatch.laid_out(canvas, input.lengths, Padding.UNKNOWN, input.layout, extents)
    return input, labels.long()


def _of_labels(
    function: Callable[..., Any], pairs: Sequence[Pair], call: Callable[[Tensor, Tensor, str], Any],
    weight: Tensor | None, ignore_index: int, reduction: str,
) -> Loss:  # fmt: skip
    """Work a loss of class indices: the padding is ignored as torch ignores pixels without a label."""
    done, totals, counts = [], [], []
    how = reduction if len(pairs) == 1 or reduction == "none" else "sum"
    for input, target in pairs:
        input, labels = _labels(function, input, target)
        flat = RaggedBatch.laid_out(labels, input.lengths, Padding.UNKNOWN, (input.layout[0], *input.layout[2:]))
        labels = flat.masked(ignore_index)
        values = call(input.settled(), labels, how)
        if reduction == "none":
            done.append(flat.with_canvas(values, Padding.ZERO))
            continue
        totals.append(values)
        if how != reduction:
            counted = labels != ignore_index
            shares = None if weight is None else weight[labels.masked_fill(~counted, 0)].masked_fill(~counted, 0.0)
            counts.append(counted.sum() if shares is None else shares.sum())
    if reduction == "none":
        return RaggedGroup(done) if len(pairs) > 1 else done[0]
    total = torch.stack(totals).sum() if len(totals) > 1 else totals[0]
    return total / torch.stack(counts).sum() if reduction == "mean" and how == "sum" else total


# Losses of pixel against pixel. A fill where the loss or its derivative is not finite for all that padding may hold.
_FILLS = {functional.binary_cross_entropy: 0.5, functional.kl_div: 1.0, functional.soft_margin_loss: 1.0}


@register_rule(
    functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits,
    functional.mse_loss,
    functional.l1_loss,
    functional.smooth_l1_loss,
    functional.huber_loss,
    functional.kl_div,
    functional.soft_margin_loss,
    whole_group=True,
    any_layout=True,
)
def pixel_loss(function: Callable[..., Any], input: Any, target: Any, *args: Any, **kwargs: Any) -> Loss:
    """Loss of each number against its target, of the same shape: (N, C, *spatial), (N, C, *spatial) -> a number."""
    names = _POSITIONAL.get(function, _COMMON)
    options = {**dict(zip(names, args, strict=False)), **kwargs}
    reduction = options.pop("reduction", "mean")
    legacy = [options.pop(name, None) for name in ("size_average", "reduce")]
    pairs = _pairs(function, input, target, reduction, legacy)
    if function is functional.l1_loss and not torch.compiler.is_compiling():
        _refuse_a_weight_that_torch_drops(function)
    operands = {name: options.pop(name, None) for name in ("weight", "pos_weight")}
    operands = {name: value for name, value in operands.items() if value is not None}
    if len(pairs) > 1 and any(isinstance(v, RaggedGroup) or v.dim() == pairs[0][0].dim() for v in operands.values()):
        raise refusal(function, "a weight for each image or pixel has no exact rule with a group")

    def call(values: Tensor, targets: Tensor, *tensors: Tensor) -> Any:
        named = dict(zip(operands, tensors, strict=True))
        return function(values, targets, **named, **options, reduction="none")

    by_weight = function in (functional.mse_loss, functional.l1_loss) and "weight" in operands
    return _of_pixels(function, pairs, call, reduction, tuple(operands.values()), by_weight=by_weight)


def _refuse_a_weight_that_torch_drops(function: Callable[..., Any]) -> None:
    """Refuse ``l1_loss`` with a weight: torch 2.13 does not hand it on to ``__torch_function__``; it would be lost."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not functional.l1_loss.__code__:
        frame = frame.f_back
    if frame is not None and frame.f_locals.get("weight") is not None:
        raise refusal(function, "torch does not hand its weight on; multiply input and target by the weight instead")


_COMMON = ("size_average", "reduce", "reduction")
_POSITIONAL = {
    functional.binary_cross_entropy: ("weight", *_COMMON),
    functional.binary_cross_entropy_with_logits: ("weight", *_COMMON, "pos_weight"),
    functional.smooth_l1_loss: (*_COMMON, "beta"),
    functional.huber_loss: ("reduction", "delta", "weight"),
    functional.mse_loss: (*_COMMON, "weight"),
    functional.l1_loss: (*_COMMON, "weight"),
    functional.kl_div: (*_COMMON, "log_target"),
}


def _of_pixels(
    function: Callable[..., Any], pairs: Sequence[Pair], call: Callable[..., Tensor], reduction: str,
    operands: tuple[Any, ...] = (), *, classes: bool = False, by_weight: bool = False,
) -> Loss:  # fmt: skip
    """Work a loss that is known for each pixel, and add up those of the real ones.

    ``classes``: one loss a pixel is made of all channels. ``by_weight``: the mean is over the weights' sum.
    """
    done, totals = [], []
    counts: list[Any] = []
    for input, target in pairs:
        if isinstance(target, Tensor) and target.shape == input.canvas.shape:
            target = input.with_canvas(target, Padding.UNKNOWN)
        aligned = align(function, (input, target, *operands), _FILLS.get(function))
        values = call(*aligned.values)
        result = RaggedBatch.laid_out(values, aligned.lengths, Padding.UNKNOWN, aligned.like.layout, aligned.extents)
        if classes:
            layout = (input.layout[0], *input.layout[2:])
            result = RaggedBatch.laid_out(values, aligned.lengths, Padding.UNKNOWN, layout, aligned.extents)
        if reduction == "none":
            done.append(result)
            continue
        totals.append(result.masked(0.0).sum(dtype=torch.promote_types(values.dtype, torch.float32)))
        if by_weight:
            counts.append(result.with_canvas(aligned.values[2], Padding.UNKNOWN).masked(0.0).sum())
        else:
            counts.append(_num_real(result) if reduction == "mean" else len(result))
    if reduction == "none":
        return RaggedGroup(done) if len(pairs) > 1 else done[0]
    total = sum(totals[1:], start=totals[0])
    dtype = pairs[0][0].dtype
    return (total if reduction == "sum" else total / sum(counts)).to(dtype)


def _num_real(batch: RaggedBatch) -> Any:
    """How many numbers the images hold together."""
    area = product(batch.lengths).tensor(batch.device).sum()
    plain = math.prod([batch.canvas.shape[place] for place, axes in enumerate(batch.layout) if place and not axes])
    return area * plain
