"""Masks that were resized or turned smoothly: their borders hold values between those of the two sides."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from anysize.data.masks.coding import UNKNOWN, MaskCoding
from anysize.data.masks.facts import MaskFacts

__all__ = ["SmoothMasks", "smooth_masks"]

# Half of a value's pixels strictly between their neighbours, and not by chance. In real masks of VOC, CamVid, facades,
# bridges and cells no value reaches a fifth; resized bilinearly by 0.5 to 4, most have a value beyond four fifths.
_SHARE = 0.5
_FEWEST_PIXELS = 8
# One outline class is common (Oxford-IIIT Pet, cell borders); values that are outlines only, three of them, are not.
_THIN_VALUES = 3
_FEWEST_MASKS = 2
_SHARE_OF_MASKS = 0.5  # of all masks resized smoothly nearly all show it; thin objects of a few masks do by chance


@dataclass(frozen=True, slots=True)
class SmoothMasks:
    """What smooth resizing would explain.

    Args:
        masks: indices of the masks that show it, rising.
        values: the values that lie on borders only in these masks, rising.
        certain: no drawing by hand explains it: at least three values that are outlines only, or values beyond the
            classes, or classes with an area of their own elsewhere, in half of the masks.
    """

    masks: tuple[int, ...]
    values: tuple[int, ...]
    certain: bool


def smooth_masks(facts: Sequence[MaskFacts], coding: MaskCoding) -> SmoothMasks:
    """Look for values that lie only between their neighbours; masks in colour are passed over."""
    indices = [number for number, fact in enumerate(facts) if not fact.in_color]
    pixels: dict[int, int] = defaultdict(int)
    between: dict[int, int] = defaultdict(int)
    for number in indices:
        for value, count, inside, _ in facts[number].table.tolist():
            pixels[value] += count
            between[value] += inside
    thin = {value for value, count in pixels.items() if count >= _FEWEST_PIXELS and between[value] >= _SHARE * count}
    masks, values, contradicting = [], set(), 0
    for number in indices:
        table = facts[number].table
        often = (table[:, 1] >= _FEWEST_PIXELS) & (table[:, 2] >= _SHARE * table[:, 1])
        suspects = set(table[often, 0].tolist()) | (thin & set(table[:, 0].tolist()))
        if suspects:
            masks.append(number)
            values |= suspects
            contradicting += any(value not in thin or coding.class_of(value) == UNKNOWN for value in suspects)
    certain = len(thin) >= _THIN_VALUES or contradicting >= max(_FEWEST_MASKS, _SHARE_OF_MASKS * len(indices))
    return SmoothMasks(tuple(masks), tuple(sorted(values)), bool(masks) and certain)
