"""Random numbers that are the same on every machine and with every version of every library.

NumPy promises no stable stream for its generators, and a plan must be the same on all ranks of a cluster and
after an upgrade. SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") is a
few exact integer operations; as a hash of a counter it is vectorised without state.
"""

from math import isqrt

import numpy as np
import numpy.typing as npt

__all__ = ["Shuffle", "permutation", "stream_key", "uniform", "words"]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64, element by element; arithmetic is modulo 2^64 by design."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def words(key: int, count: int) -> npt.NDArray[np.uint64]:
    """``count`` random 64-bit words of the stream ``key``: shape (count,)."""
    counter = np.arange(1, count + 1, dtype=np.uint64)
    return _mix(np.array([key & _MASK], dtype=np.uint64) + counter * np.uint64(_GOLDEN))


def stream_key(*numbers: int) -> int:
    """One 64-bit key from any integers (seed, epoch, purpose), negative ones too; their order counts."""
    key = 0
    for number in numbers:
        key = int(words(key ^ (number & _MASK), 1)[0])
    return key


def uniform(key: int, count: int) -> npt.NDArray[np.float64]:
    """``count`` numbers, uniform in [0, 1), with 53 random bits each: shape (count,)."""
    return (words(key, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(key: int, count: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to ``count`` - 1 in random order: shape (count,)."""
    # A stable sort: ties among the words are next to impossible, but must not depend on the processor.
    return np.argsort(words(key, count), kind="stable").astype(np.int64)


class Shuffle:
    """The numbers 0 to ``count`` - 1 in random order without a table: any part of it at once, in no memory.

    A Feistel network on pairs (left, right) of about the square root of ``count`` each, with cycle walking
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").

    Args:
        key: random stream.
        count: how many numbers; at most 2^62.
    """

    _ROUNDS = 4  # as many as a pseudorandom permutation needs (Luby and Rackoff 1988)
    _BLOCK = 1 << 14  # so that all arrays of a round stay in the processor's cache

    def __init__(self, key: int, count: int) -> None:
        self.count = count
        # Of few numbers a network makes some orders far more often than others; a table of them is small.
        self._table = permutation(key, count) if count <= self._BLOCK else None
        self._left = max(isqrt(max(count - 1, 0)) + 1, 1)
        self._right = -(-count // self._left)
        self._keys = [np.uint64(stream_key(key, number)) for number in range(self._ROUNDS)]

    def numbers(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """What stands at the places ``first`` to ``last`` - 1 of the order."""
        if self._table is not None:
            return self._table[first:last]
        found = np.empty(last - first, dtype=np.int64)
        for begin in range(first, last, self._BLOCK):
            end = min(begin + self._BLOCK, last)
            block = self._once(np.arange(begin, end, dtype=np.uint64))
            # The pairs are a few more than ``count``; whoever lands on one of those walks on.
            while len(outside := np.flatnonzero(block >= self.count)):
                block[outside] = self._once(block[outside])
            found[begin - first : end - first] = block
        return found

    def _once(self, places: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = np.divmod(places, np.uint64(self._right))
        for number, key in enumerate(self._keys):
            if number % 2:
                right = self._shifted(right, _mix(left ^ key), self._right)
            else:
                left = self._shifted(left, _mix(right ^ key), self._left)
        return left * np.uint64(self._right) + right

    @staticmethod
    def _shifted(values: npt.NDArray[np.uint64], noise: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.uint64]:
        """``values`` plus something random, modulo ``size``."""
        # The high 32 bits of the noise times the size, over 2^32: a remainder would take several times longer.
        noise >>= np.uint64(32)
        noise *= np.uint64(size)
        noise >>= np.uint64(32)
        noise += values
        noise -= np.uint64(size) * (noise >= size)
        return noise
