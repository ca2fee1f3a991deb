"""Random numbers that are the same on every machine and with every version of every library.

NumPy promises no stable stream for its generators, and a plan must be the same on all ranks of a cluster and
after an upgrade. SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") is a
few exact integer operations; as a hash of a counter it is vectorised without state.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["permutation", "stream_key", "uniform", "words"]

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
