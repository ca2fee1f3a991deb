"""How far a share that was counted can be trusted."""

import math

__all__ = ["wilson_interval"]

Z_95 = 1.959963984540054


def wilson_interval(share: float, num_trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share of successes (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212).

    Unlike mean +- z standard errors it stays within 0..1, and has a width where all or none succeeded.

    Args:
        share: the successes divided by ``num_trials``, 0..1.
        num_trials: at least 1.
        z: the normal quantile; 1.96 gives 95 %.

    Returns:
        The lower and the upper end, 0..1.

    >>> [round(end, 4) for end in wilson_interval(0.5, 10)]
    [0.2366, 0.7634]
    """
    if num_trials < 1:
        raise ValueError(f"num_trials is {num_trials}; an interval needs at least 1")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}; it must lie in 0..1")
    square = z * z / num_trials
    middle = (share + square / 2) / (1 + square)
    reach = z * math.sqrt(share * (1 - share) / num_trials + square / (4 * num_trials)) / (1 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)
