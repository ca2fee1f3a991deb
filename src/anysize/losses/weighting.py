"""Class weights from how often the classes come."""

from collections.abc import Sequence

from anysize.errors import DataError, UsageError

__all__ = ["WEIGHTINGS", "class_weights_from_counts", "parse_class_weights"]

WEIGHTINGS = ("balanced", "none", "sqrt")
"""Schemes of `class_weights_from_counts`."""


def class_weights_from_counts(counts: Sequence[int], scheme: str = "balanced") -> tuple[float, ...]:
    """Return a weight for each class.

    ``balanced``: median frequency balancing (Eigen and Fergus 2015), here with the frequencies of the
    whole data set: the median of the counts, over the class's own. ``sqrt``: the square root of that, which spares rare
    classes weights of hundreds. ``none``: 1 for each.

    A class that the data do not hold has no frequency: it is left out of the median and gets 1. No target has it, so
    its weight changes nothing but the share that label smoothing gives it.

    >>> class_weights_from_counts([800, 100, 50, 0])
    (0.125, 1.0, 2.0, 1.0)

    Args:
        counts: of each class, its pixels or images that count in training.
        scheme: one of `WEIGHTINGS`.

    Raises:
        DataError: nothing was counted.
        UsageError: an unknown scheme, or a negative count.
    """
    if scheme not in WEIGHTINGS:
        raise UsageError(
            f"there is no scheme of class weights {scheme!r}", hint=f"{', '.join(WEIGHTINGS)}, or numbers, one a class"
        )
    numbers = [int(count) for count in counts]
    if any(number < 0 for number in numbers):
        raise UsageError(f"a class has the count {min(numbers)}; 0 or more is required")
    present = sorted(number for number in numbers if number)
    if not present:
        raise DataError(f"class weights were asked for, and none of the {len(numbers)} classes was counted once")
    middle = len(present) // 2
    median = present[middle] if len(present) % 2 else (present[middle - 1] + present[middle]) / 2
    power = {"balanced": 1.0, "sqrt": 0.5, "none": 0.0}[scheme]
    return tuple((median / number) ** power if number else 1.0 for number in numbers)


def parse_class_weights(given: Sequence[str]) -> str | tuple[float, ...] | None:
    """Return what a list of words asks for: one of `WEIGHTINGS`, or a number a class; None for an empty list.

    >>> parse_class_weights(["balanced"]), parse_class_weights(["1", "2.5"]), parse_class_weights(["1,2.5"])
    ('balanced', (1.0, 2.5), (1.0, 2.5))

    Args:
        given: words, or numbers that may be joined by commas.

    Raises:
        UsageError: neither.
    """
    if not given:
        return None
    if len(given) == 1 and given[0] in WEIGHTINGS:
        return given[0]
    try:
        return tuple(float(number) for word in given for number in word.split(",") if number)
    except ValueError:
        raise UsageError(
            f"--class-weights is {' '.join(given)}; it must be {', '.join(WEIGHTINGS)} or one number a class",
            hint="--class-weights balanced",
        ) from None
