"""Padding: pixels put right at each image's own borders, or cut off there."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.each import each_image
from anysize.ragged.lengths import Length
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.resizing import extents_of, resize_each
from anysize.ragged.shapes.taps import take_pixels
from anysize.ragged.shapes.windows import require_pixels, too_small

__all__: list[str] = []

Amount = int | Length
Place = tuple[int, ...]
Places = tuple[Place, ...]
_LARGE = 1e4  # half precision ends at 65,504
_MOVED = ("reflect", "replicate", "circular")


@dataclass(frozen=True, slots=True)
class _Amounts:
    """Pixels to be put before and behind each image along each axis; negative ones are cut off."""

    before: tuple[Amount, ...]
    after: tuple[Amount, ...]
    """One a spatial axis, in the order of the axes."""
    channels: tuple[int, int]

    def of_image(self, number: int) -> list[int]:
        """As ``torch.nn.functional.pad`` wants them: pairs, the last axis first."""
        pairs = [(_number(b, number), _number(a, number)) for b, a in zip(self.before, self.after, strict=True)]
        if any(self.channels):
            pairs.insert(0, self.channels)
        return [amount for pair in reversed(pairs) for amount in pair]


def _number(amount: Amount, number: int) -> int:
    return amount if isinstance(amount, int) else int(amount.values[number])


@register_rule(functional.pad, torch.constant_pad_nd)
def pad(
    function: Callable[..., Any], input: RaggedBatch, pad: Any, mode: Any = "constant", value: float | None = None
) -> RaggedBatch:
    """Put pixels around each image, or cut some off: (N, C, *spatial) -> (N, C', *spatial').

    Amounts may be lengths: each image then has its own, as "same" padding computed from ``x.shape`` gives them.
    """
    if function is torch.constant_pad_nd:  # (input, pad, value)
        mode, value = "constant", value if mode == "constant" else mode
    amounts = _amounts(function, input, pad)
    _require_what_is_cut(function, input, amounts)
    if mode != "constant":
        return _moved(input, amounts, mode, value)
    fill = 0.0 if value is None else value
    if all(isinstance(amount, int) for amount in amounts.before):
        return _filled(input, amounts, fill)
    if math.isfinite(fill) and not any(amounts.channels) and not torch.compiler.is_compiling():
        apart = _put_apart(input, amounts, fill)
        if apart is not None:
            return apart
    return each_image(function, input, lambda image, n: functional.pad(image, amounts.of_image(n), value=fill))


def _amounts(function: Callable[..., Any], input: RaggedBatch, pad: Sequence[Any]) -> _Amounts:
    pairs = [(_amount(before), _amount(after)) for before, after in zip(pad[::2], pad[1::2], strict=True)]
    axes = input.spatial_axes
    plain = pairs[axes:]
    pairs = [*pairs[:axes], *[(0, 0)] * (axes - len(pairs))][::-1]
    if len(plain) > 1 and any(plain[1]):
        raise refusal(function, "it puts images beside the images of the batch")
    channels = (int(plain[0][0]), int(plain[0][1])) if plain else (0, 0)
    return _Amounts(tuple(before for before, _ in pairs), tuple(after for _, after in pairs), channels)


def _amount(amount: Any) -> Amount:
    if not isinstance(amount, Length):
        return int(amount)
    known = amount.known
    return int(known[0]) if known is not None and known.count(known[0]) == len(known) else amount


def _require_what_is_cut(function: Callable[..., Any], input: RaggedBatch, amounts: _Amounts) -> None:
    pairs = tuple(zip(amounts.before, amounts.after, strict=True))
    cut = [[-min(0, amount) if isinstance(amount, int) else 0 for amount in pair] for pair in pairs]
    if any(map(any, cut)):
        left = tuple(length - sum(pair) for length, pair in zip(input.lengths, cut, strict=True))
        require_pixels(function, input, left, lambda: [1 + sum(pair) for pair in cut])


def _filled(input: RaggedBatch, amounts: _Amounts, value: float) -> RaggedBatch:
    """Put ``value`` around the images: all begin at one place, and behind them the canvas holds it already."""
    lengths = tuple(
        length + before + after
        for length, before, after in zip(input.lengths, amounts.before, amounts.after, strict=True)
    )
    most = tuple(after if isinstance(after, int) else extents_of(functional.pad, [after])[0] for after in amounts.after)
    puts_behind = any(after > 0 for after in most)
    if not puts_behind:
        canvas = input.settled()
    else:
        canvas = input.cleared() if value == 0 else input.masked(value)
    result = functional.pad(canvas, _Amounts(amounts.before, most, amounts.channels).of_image(0), value=value)
    cuts_behind = any(not isinstance(after, int) or after < 0 for after in amounts.after)
    was_zero = puts_behind or input.padding is Padding.ZERO
    known = Padding.ZERO if value == 0 and was_zero and not cuts_behind else Padding.FINITE
    batch = RaggedBatch.laid_out(result, lengths, known)
    # A number that pools never choose is as harmful as infinity: the next sum of such numbers overflows, and a gradient
    # of zero times that is NaN.
    return batch if abs(value) < _LARGE else batch.with_zeros()


class _Put(torch.autograd.Function):
    """Put images, which begin at ``starts`` on one canvas, at ``targets`` on another: one pass over them, each way."""

    @staticmethod
    def forward(
        ctx: Any, canvas: Tensor, sizes: Places, starts: Places, targets: Places, filled: Places, fill: float
    ) -> Tensor:
        ctx.places = (sizes, targets, starts)
        ctx.all = (tuple(canvas.shape[2:]),) * len(sizes)
        extents = tuple(max(lengths) for lengths in zip(*filled, strict=True))
        channels_last = canvas.dim() == 4 and canvas.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        result = torch.empty(
            (*canvas.shape[:2], *extents), dtype=canvas.dtype, device=canvas.device, memory_format=layout
        ).zero_()
        if fill != 0:  # beside each image only: behind it are zeros
            for number, size in enumerate(filled):
                result[_window(number, (0,) * len(size), size)] = fill
        for number, (size, start, target) in enumerate(zip(sizes, starts, targets, strict=True)):
            result[_window(number, target, size)] = canvas[_window(number, start, size)]
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (_Put.apply(grads[0], *ctx.places, ctx.all, 0.0), None, None, None, None, None)  # type: ignore[no-untyped-call]


def _window(number: int, start: Place, size: Place) -> tuple[Any, ...]:
    return (number, slice(None), *(slice(a, a + length) for a, length in zip(start, size, strict=True)))


def _put_apart(input: RaggedBatch, amounts: _Amounts, value: float) -> RaggedBatch | None:
    """Put ``value`` around the images, or cut them, by each one's own amounts; None if nothing of one is left."""
    kept, starts, targets = [], [], []
    for number, size in enumerate(input.sizes):
        before = [_number(amount, number) for amount in amounts.before]
        after = [_number(amount, number) for amount in amounts.after]
        kept.append(tuple(n + min(b, 0) + min(a, 0) for n, b, a in zip(size, before, after, strict=True)))
        starts.append(tuple(max(-b, 0) for b in before))
        targets.append(tuple(max(b, 0) for b in before))
    if min(min(size) for size in kept) < 1:
        return None
    lengths = tuple(
        length + before + after
        for length, before, after in zip(input.lengths, amounts.before, amounts.after, strict=True)
    )
    filled = tuple(zip(*(length.values for length in lengths), strict=True))
    places = (tuple(kept), tuple(starts), tuple(targets), filled)
    canvas: Tensor = _Put.apply(input.canvas, *places, value)  # type: ignore[no-untyped-call]
    return RaggedBatch.laid_out(canvas, lengths, Padding.ZERO)


def _moved(input: RaggedBatch, amounts: _Amounts, mode: str, value: float | None) -> RaggedBatch:
    """Put pixels of the image itself around it."""
    function = functional.pad
    pairs = tuple(zip(amounts.before, amounts.after, strict=True))
    if any(isinstance(amount, Length) for pair in pairs for amount in pair):
        return each_image(function, input, lambda image, n: function(image, amounts.of_image(n), mode, value))
    spatial = [(int(before), int(after)) for before, after in pairs]
    if not torch.compiler.is_compiling():
        _require_what_is_copied(input, spatial, mode)
        listed = amounts.of_image(0)
        return resize_each(function, input, input.lengths, lambda images, _: function(images, listed, mode, value))
    if mode not in _MOVED or any(amounts.channels):
        raise refusal(function, f"while compiling, mode {mode!r} has an exact rule over spatial axes only")
    canvas = input.canvas
    for axis, (before, after) in enumerate(spatial):
        length = input.lengths[axis].tensor(input.device)[:, None]
        places = _places(mode, torch.arange(-before, input.extents[axis] + after, device=input.device)[None], length)
        canvas = take_pixels(canvas, 2 + axis, places)
    lengths = tuple(length + sum(pair) for length, pair in zip(input.lengths, spatial, strict=True))
    return RaggedBatch.laid_out(canvas, lengths, Padding.FINITE)


def _places(mode: str, places: Tensor, length: Tensor) -> Tensor:
    """Return the pixel that stands at each place, counted from the image's first: (1, O), (N, 1) -> (N, O)."""
    if mode == "circular":
        return places % length
    if mode == "reflect":
        places = length - 1 - (length - 1 - places.abs()).abs()
    return torch.minimum(places.clamp(min=0), length - 1)


def _require_what_is_copied(input: RaggedBatch, pairs: Sequence[tuple[int, int]], mode: str) -> None:
    """Check that each image has the pixels that are copied: a reflection leaves out the one at the border."""
    if mode not in ("reflect", "circular"):
        return
    needed = [max(1, *pair) if mode == "circular" else 1 + max(0, *pair) for pair in pairs]
    for index, size in enumerate(input.sizes):
        if any(length < least for length, least in zip(size, needed, strict=True)):
            raise too_small(functional.pad, input, index, needed)
