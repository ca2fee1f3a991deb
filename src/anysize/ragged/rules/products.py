"""Matrix products: over channels as they are, over space with zeros in the padding of both operands."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import MixedSizesError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length, same_lengths
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.axes import relaid

__all__: list[str] = []

Function = Callable[..., Any]
Axis = tuple[int, ...]


@register_rule(functional.linear, any_layout=True)
def linear(function: Function, input: Any, weight: Any, bias: Tensor | None = None) -> RaggedBatch:
    """Multiply the channels of each pixel: (N, *spatial, C) -> (N, *spatial, C')."""
    if not isinstance(input, RaggedBatch) or isinstance(weight, RaggedBatch):
        raise refusal(function, "only its input may be ragged, not its weight")
    if input.layout[-1]:
        raise refusal(
            function, "its last axis is space, of another length in each image, and a weight has one length only"
        )
    return input.with_canvas(functional.linear(input.settled(), weight, bias), Padding.FINITE).kept_finite()


@register_rule(functional.bilinear, torch.einsum)
def refused(function: Function, *args: Any, **kwargs: Any) -> None:  # noqa: ARG001 - refused whatever it is given
    """Refuse: products of more operands, or with axes named by letters."""
    raise refusal(function, "products other than matmul and linear have no exact rule")


@register_rule(
    torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.bmm, Tensor.bmm,
    any_layout=True, per_image_operands=True,
)  # fmt: skip
def matmul(function: Function, input: Any, other: Any = None, *, mat2: Any = None) -> RaggedBatch | Tensor:
    """Multiply matrices, the last two axes: with a plain one over channels, with each other over channels or space.

    (N, L, C) @ (N, C, L) -> (N, L, L): a map of every pixel with every other. (N, L, L) @ (N, L, C) -> (N, L, C).
    """
    other = mat2 if other is None else other  # as bmm names it
    left, right = (other, input) if function is Tensor.__rmatmul__ else (input, other)
    name = torch.bmm if function in (torch.bmm, Tensor.bmm) else torch.matmul
    if isinstance(left, RaggedBatch) and isinstance(right, RaggedBatch):
        return _both_ragged(function, left, right, name)
    if isinstance(left, RaggedBatch):
        return _times_plain(function, left, right, name)
    return _plain_times(function, left, right, name)


def _times_plain(function: Function, left: RaggedBatch, right: Tensor, product: Function) -> RaggedBatch | Tensor:
    if left.layout[-1]:
        raise refusal(function, "it sums over space, of another length in each image; its plain operand has one length")
    _check_leading(function, left, right, right.dim() - 2)
    canvas = product(left.settled(), right)
    layout = left.layout[:-1] if right.dim() == 1 else (*left.layout[:-1], ())
    return _finite(canvas, layout, left.lengths, left.extents)


def _plain_times(function: Function, left: Tensor, right: RaggedBatch, product: Function) -> RaggedBatch | Tensor:
    if right.layout[-2] or right.dim() == 2:
        raise refusal(function, "it sums over space, of another length in each image; its plain operand has one length")
    _check_leading(function, right, left, left.dim() - 2)
    canvas = product(left, right.settled())
    rows = () if left.dim() == 1 else ((),)
    layout = (*right.layout[:-2], *rows, right.layout[-1])
    return _finite(canvas, layout, right.lengths, right.extents)


def _check_leading(function: Function, batch: RaggedBatch, plain: Tensor, num_leading: int) -> None:
    """The axes of a plain operand before its matrix must not run over space or images of their own."""
    leading = batch.layout[:-2]
    for axes, length in zip(reversed(leading), reversed(plain.shape[: max(num_leading, 0)]), strict=False):
        if axes and length != 1:
            raise refusal(function, f"its plain operand of shape {tuple(plain.shape)} varies over space")
    if num_leading > len(leading) or (num_leading == len(leading) and plain.shape[0] not in (1, len(batch))):
        raise refusal(
            function, f"its plain operand of shape {tuple(plain.shape)} would put another axis before the images"
        )


def _both_ragged(function: Function, left: RaggedBatch, right: RaggedBatch, product: Function) -> RaggedBatch | Tensor:
    if left.dim() != right.dim() or left.dim() < 3:
        raise refusal(function, "two ragged operands must have the same number of axes, three or more")
    if len(left) != len(right):
        raise MixedSizesError(
            f"{function.__name__} was given ragged batches of {len(left)} and of {len(right)} images: both must hold "
            "the same images"
        )
    lengths, extents = [*left.lengths, *right.lengths], [*left.extents, *right.extents]
    offset = len(left.lengths)
    theirs = [tuple(axis + offset for axis in axes) for axes in right.layout]
    layout: list[Axis] = []
    for mine, its in zip(left.layout[:-2], theirs[:-2], strict=True):
        if bool(mine) != bool(its) or (mine and not _same(lengths, extents, mine, its)):
            raise refusal(function, "its ragged operands differ in the axes before their matrices")
        layout.append(mine)
    inner, its_inner = left.layout[-1], theirs[-2]
    sums_space = bool(inner)
    if sums_space != bool(its_inner) or (sums_space and not _same(lengths, extents, inner, its_inner)):
        raise refusal(function, "it sums over an axis that is not the same in both of its ragged operands")
    rows, columns = left.layout[-2], theirs[-1]
    if rows and columns and _same(lengths, extents, rows, columns, ask=False):
        columns = rows
    # A zero times a finite number is zero, forwards; and backwards, where each operand's gradient is the other's
    # padding times a gradient of real pixels, it must be zero on both sides.
    first, second = (left.zeroed(), right.zeroed()) if sums_space else (left.settled(), right.settled())
    return _finite(product(first, second), (*layout, rows, columns), lengths, extents)


def _same(lengths: list[Length], extents: list[int], mine: Axis, its: Axis, *, ask: bool = True) -> bool:
    """Whether two axes run over the same lengths on the same extents, so that their places correspond."""
    if len(mine) != len(its) or [extents[axis] for axis in mine] != [extents[axis] for axis in its]:
        return False
    pairs = [(lengths[a], lengths[b]) for a, b in zip(mine, its, strict=True)]
    if not ask and any(a is not b and (a.known is None or b.known is None) for a, b in pairs):
        return False
    return same_lengths([a for a, _ in pairs], [b for _, b in pairs])


def _finite(canvas: Tensor, layout: tuple[Axis, ...], lengths: Any, extents: Any) -> RaggedBatch | Tensor:
    result = relaid(canvas, layout, lengths, extents, Padding.FINITE)
    return result.kept_finite() if isinstance(result, RaggedBatch) else result
