"""A first convolution trained on other channels, made to fit without losing what it learned."""

from typing import Literal

from torch import Tensor

__all__ = ["Stem", "adapt_stem"]

Stem = Literal["load", "adapt", "repeat"]


def adapt_stem(weight: Tensor, in_channels: int, how: Stem) -> tuple[Tensor, str] | None:
    """Turn the weight of a first convolution into one for another number of channels.

    Args:
        weight: (K, C, h, w), K filters on C channels.
        in_channels: C', not C.
        how: ``adapt`` keeps the answers themselves: to one channel, the C slices are added up, so that a grey image
            is answered as its copies on all C channels were; from one channel, it is shared out evenly, so that copies
            of a grey image are answered as it was; to more channels, the first C stay and the further ones
            are zero, so that they count for nothing until they are trained. To fewer, it has no rule.
            ``repeat`` is timm's rule (``adapt_input_conv``), for any number: the channels are repeated in turn and
            scaled by C/C', so that the further ones take part from the first step, and what the first C
            alone are answered changes; one channel is the sum here too.

    Returns:
        The weight (K, C', h, w) and what was done, or None where there is no rule.
    """
    before = weight.shape[1]
    change = f"{_channels(before)} -> {_channels(in_channels)}"
    if in_channels == 1:
        return weight.sum(1, keepdim=True), f"{change}, their sum"
    if how == "adapt" and 1 < before < in_channels:
        adapted = weight.new_zeros(weight.shape[0], in_channels, *weight.shape[2:])
        adapted[:, :before] = weight
        return adapted, f"{change}, the further ones zero"
    if how == "repeat" or before == 1:
        turns = -(-in_channels // before)
        adapted = weight.repeat(1, turns, 1, 1)[:, :in_channels] * (before / in_channels)
        return adapted, f"{change}, repeated in turn and scaled by {before}/{in_channels}"
    return None


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count != 1 else ''}"
