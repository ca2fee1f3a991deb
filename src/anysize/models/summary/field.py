"""The receptive field and the stride of a network, from what its outputs are found to see."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from torch import nn

from anysize.models.summary.follow import follow
from anysize.models.summary.state import State

__all__ = ["ReceptiveField", "receptive_field"]

_SIDES = (512, 1024, 2048, 4096, 8192, 16_384)

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """What an output in the middle of a large image can see of it, by the wiring alone."""

    of: Literal["output", "last map", "nothing"]
    """Whose field ``size`` and ``stride`` are: of the output map, or of the last map before a global pool."""
    size: tuple[int, int] | None = None
    """Height and width in pixels of the smallest rectangle that holds all pixels it sees; the largest over positions,
    without what is seen by way of global pools."""
    stride: Pair | None = None
    """By how many pixels down and to the right that rectangle moves from one position to the next."""
    whole_image: bool = False
    """Whether the output depends on every part of the image: a global pool, squeeze-and-excitation, image pooling."""
    share_of_image: bool = False
    """Whether it depends on parts that grow with the image: a pool to a fixed grid."""
    unknown: str | None = None
    """Why nothing can be said: the operator that is not known and its module, or a field larger than was tried."""


def receptive_field(model: nn.Module, in_channels: int, size: tuple[int, int]) -> ReceptiveField:
    """Follow what each tensor sees through one forward pass, on larger and larger images until no border cuts it.

    Args:
        model: on the meta device, in evaluation mode.
        in_channels: of the image.
        size: (height, width) that it takes, for networks that take no other.
    """
    before: tuple[int, ...] | None = None
    for side in _SIDES:
        try:
            state = follow(model, in_channels, (side, side))
        except (RuntimeError, ValueError, AssertionError):
            return _of_one_size(follow(model, in_channels, size), size)
        found = _field(state, (side, side))
        if found.unknown is not None or (found.of == "nothing"):
            return found
        if found.size is not None and found.size == before:
            return found
        before = found.size
    return ReceptiveField(
        of="nothing", unknown=f"larger than {_SIDES[-1] // 4:,} pixels", whole_image=found.whole_image
    )


def _of_one_size(state: State, size: tuple[int, int]) -> ReceptiveField:
    found = _field(state, size)
    if found.size is None and found.unknown is None and found.of != "nothing":
        only = "x".join(map(str, size))
        return ReceptiveField(
            of="nothing",
            whole_image=found.whole_image,
            share_of_image=found.share_of_image,
            unknown=f"at {only}, and the network does not take every size, the border cuts it off",
        )
    return found


def _field(state: State, size: tuple[int, int]) -> ReceptiveField:
    if state.unknown is not None:
        return ReceptiveField(of="nothing", unknown=f"behind {state.unknown}")
    own = state.reaches()
    reaches = own if len(own) == 2 else {**state.pooled, **own}
    whole, share = bool(state.whole), bool(state.share)
    if len(reaches) < 2:
        return ReceptiveField(of="nothing", whole_image=whole, share_of_image=share)
    fields = [reaches[axis].middle_field(size[axis]) for axis in (0, 1)]
    strides = [reaches[axis].middle_stride() for axis in (0, 1)]
    return ReceptiveField(
        of="output" if len(own) == 2 else "last map",
        size=None if fields[0] is None or fields[1] is None else (fields[0], fields[1]),
        stride=None if strides[0] is None or strides[1] is None else (_number(strides[0]), _number(strides[1])),
        whole_image=whole,
        share_of_image=share,
    )


def _number(stride: Fraction) -> float:
    return stride.numerator if stride.denominator == 1 else float(stride)
