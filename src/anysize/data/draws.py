"""Random numbers by counting: each is a pure function of its place, whatever was drawn before."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["sixteen_bits", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def uniform(seed: int, *place: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on ``seed`` and ``place`` only, equal on every machine.

    SplitMix64 (Steele, Lea and Flood 2014) is applied once for each coordinate; its output has passed
    BigCrush.

    Args:
        seed: any integer; its lowest 64 bits count.
        place: integers or integer arrays that broadcast: epoch, image index, number of the draw.

    Returns:
        float64 of the broadcast shape (a 0-d array for integers).
    """
    return np.asarray((_hashed(seed, place) >> np.uint64(11)) * 2.0**-53)


def sixteen_bits(num: int, seed: int, *place: int) -> NDArray[np.uint16]:
    """Draw many coarse numbers at one place, four from each of SplitMix64: for pixels, of which there are millions.

    Args:
        num: how many.
        seed, place: as of `uniform`, integers only.

    Returns:
        uint16 (num,), uniform in 0..65535.
    """
    words = _mixed(_hashed(seed, place) ^ np.arange(-(-num // 4), dtype=np.uint64))
    return words.astype("<u8").view("<u2")[:num].astype(np.uint16, copy=False)


def _hashed(seed: int, place: tuple[ArrayLike, ...]) -> NDArray[np.uint64]:
    state: NDArray[np.uint64] = _mixed(np.asarray(seed & _MASK, np.uint64))
    for coordinate in place:
        # int64 first, so that a negative coordinate wraps around rather than being refused.
        state = _mixed(state ^ np.asarray(coordinate, np.int64).astype(np.uint64))
    return state


def _mixed(value: NDArray[Any]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        z = np.asarray(value + _GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
