"""How convolutions, pools, padding and resampling pass on what their input sees."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from anysize.models.summary.rules import Call, elementwise, moved, rule
from anysize.models.summary.state import Factor, State
from anysize.sizes.reach import (
    Taps,
    cubic_taps,
    linear_taps,
    nearest_taps,
    shifted_taps,
    transposed_taps,
    window_taps,
)
from anysize.sizes.windows import Window

__all__: list[str] = []  # its rules are found in RULES


def _each(numbers: int | Sequence[int], rank: int) -> list[int]:
    """One number an axis of space; a single one is for all."""
    listed = [numbers] if isinstance(numbers, int) else list(numbers)
    return listed * rank if len(listed) == 1 else listed


def _over_space(call: Call, state: State, taps_of: Callable[[int, int], Taps]) -> State | None:
    """Read along the last dimensions; ``taps_of`` takes the number of the axis and of its outputs."""
    result: State | None = state
    rank = _rank(call, state)
    for axis in range(rank):
        dim = len(state.dims) - rank + axis
        result = None if result is None else moved(result, dim, taps_of(axis, call.shapes[0][dim]))
    return result


def _rank(call: Call, state: State) -> int:
    size = call.arguments.get("kernel_size") or call.arguments.get("output_size")
    if size is not None:
        return len(state.dims) - 2 if len(size) == 1 else len(size)
    return len(state.dims) - 2


@rule("convolution")
def _convolution(call: Call) -> State | None:
    """Channels are contracted; a kernel slides over space."""
    kernel = call["weight"].shape[2:]
    rank = len(kernel)
    state = call.state("input").merged(call.state("weight"))
    state = state.seen_whole([1]).with_dim(1, (Factor(call.shapes[0][1]),))
    strides, paddings, dilations = (_each(call[name], rank) for name in ("stride", "padding", "dilation"))
    windows = [
        Window(kernel=size, stride=stride, padding_before=padding, dilation=dilation)
        for size, stride, padding, dilation in zip(kernel, strides, paddings, dilations, strict=True)
    ]
    taps = transposed_taps if call["transposed"] else window_taps
    return _over_space(call, state, lambda axis, count: taps(windows[axis], count))


@rule(
    "avg_pool1d",
    "avg_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
)
def _pool(call: Call) -> State | None:
    state = call.state("self")
    rank = _rank(call, state)
    kernel = _each(call["kernel_size"], rank)
    strides = _each(call["stride"] or kernel, rank)
    paddings, dilations = _each(call["padding"], rank), _each(call.arguments.get("dilation", 1), rank)

    def taps(axis: int, count: int) -> Taps:
        window = Window(
            kernel=kernel[axis], stride=strides[axis], padding_before=paddings[axis], dilation=dilations[axis]
        )
        return window_taps(window, count)

    return _over_space(call, state, taps)


@rule(
    "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool1d", "adaptive_max_pool1d"
)
def _adaptive_pool(call: Call) -> State:
    """A pool to a fixed grid: to one position it sees everything, to several a share of the image."""
    state = call.state("self")
    rank = _rank(call, state)
    for axis, length in enumerate(_each(call["output_size"], rank)):
        dim = len(state.dims) - rank + axis
        if length == state.shape[dim]:
            continue
        axes = frozenset(factor.axis for factor in state.dims[dim] if factor.reach is not None)
        whole = state.reduced([dim], keepdim=True)
        state = whole if length == 1 else replace(whole, whole=state.whole, share=state.share | axes)
        state = state.with_dim(dim, (Factor(length),))
    return state


@rule("constant_pad_nd")
def _constant_pad(call: Call) -> State | None:
    state: State | None = call.state("self")
    amounts = call["pad"]
    rank = call["self"].dim()
    for number in range(len(amounts) // 2):
        dim = rank - 1 - number
        taps = shifted_taps(-amounts[2 * number], call.shapes[0][dim])
        state = None if state is None else moved(state, dim, taps)
    return state


@rule("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _mirrored_pad(call: Call) -> State | None:
    amounts = call["padding"]
    rank = len(amounts) // 2
    state: State | None = call.state("self")
    for number in range(rank):
        dim = call["self"].dim() - 1 - number
        length, count = call["self"].shape[dim], call.shapes[0][dim]
        places = np.arange(count) - amounts[2 * number]
        if call.arguments["_name"].startswith("reflection"):
            places = np.abs(places)
            places = np.where(places >= length, 2 * (length - 1) - places, places)
        state = None if state is None else moved(state, dim, np.clip(places, 0, length - 1)[:, None])
    return state


def _resampled(call: Call, taps_of: Callable[[Fraction, int, int], Taps], suffixes: str = "hw") -> State | None:
    state = call.state("self")
    rank = len(suffixes)

    def taps(axis: int, count: int) -> Taps:
        length = state.shape[len(state.dims) - rank + axis]
        factor = call.arguments.get("scales" if rank == 1 else f"scales_{suffixes[axis]}")
        scale = Fraction(length, count) if factor is None else 1 / Fraction(factor).limit_denominator(1 << 12)
        return taps_of(scale, length, count)

    return _over_space(call, state, taps)


@rule("upsample_nearest1d", "upsample_nearest2d")
def _nearest(call: Call) -> State | None:
    return _resampled(call, nearest_taps, "hw"[: call["self"].dim() - 2])


@rule("_upsample_nearest_exact1d", "_upsample_nearest_exact2d")
def _nearest_exact(call: Call) -> State | None:
    def taps(scale: Fraction, length: int, count: int) -> Taps:
        return nearest_taps(scale, length, count, exact=True)

    return _resampled(call, taps, "hw"[: call["self"].dim() - 2])


@rule("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d")
def _smooth(call: Call) -> State | None:
    kind = cubic_taps if "cubic" in call["_name"] else linear_taps

    def taps(scale: Fraction, length: int, count: int) -> Taps:
        return kind(scale, length, count, align_corners=call["align_corners"])

    return _resampled(call, taps, "hw"[: call["self"].dim() - 2])


@rule("pixel_shuffle")
def _pixel_shuffle(call: Call) -> State | None:
    """Channels become positions: each of a block sees what the position sees that the block was."""
    factor = call["upscale_factor"]
    state = call.state("self").with_dim(1, (Factor(call.shapes[0][1]),))
    return _over_space(call, state, lambda _, count: (np.arange(count) // factor)[:, None])


@rule("pixel_unshuffle")
def _pixel_unshuffle(call: Call) -> State | None:
    """Positions become channels: each of a block sees what all of them saw."""
    factor = call["downscale_factor"]
    state = call.state("self").with_dim(1, (Factor(call.shapes[0][1]),))
    return _over_space(call, state, lambda _, count: window_taps(Window(kernel=factor, stride=factor), count))


@rule("native_channel_shuffle", "channel_shuffle")
def _channel_shuffle(call: Call) -> State | None:
    return elementwise(call)
