import math

import pytest

from anysize.reporting.wilson import wilson_interval


def naive_end(share: float, num_trials: int, z: float, sign: int) -> float:
    """Solve |share - p| = z sqrt(p (1 - p) / n) for p by bisection: Wilson's definition, not his formula."""
    low, high = (share, 1.0) if sign > 0 else (0.0, share)
    for _ in range(200):
        middle = (low + high) / 2
        inside = abs(share - middle) <= z * math.sqrt(middle * (1 - middle) / num_trials)
        if inside == (sign > 0):
            low = middle
        else:
            high = middle
    return (low + high) / 2


@pytest.mark.parametrize(("successes", "num_trials"), [(0, 1), (1, 1), (5, 10), (0, 20), (19, 20), (9_150, 10_000)])
def test_wilson_interval_solves_its_definition(successes: int, num_trials: int) -> None:
    share = successes / num_trials
    low, high = wilson_interval(share, num_trials)
    assert 0.0 <= low <= share <= high <= 1.0
    z = 1.959963984540054
    assert low == pytest.approx(naive_end(share, num_trials, z, -1), abs=1e-12)
    assert high == pytest.approx(naive_end(share, num_trials, z, +1), abs=1e-12)


def test_wilson_interval_of_published_figures() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 15 of 148.
    assert [round(end, 4) for end in wilson_interval(81 / 263, 263)] == [0.2553, 0.3662]
    assert [round(end, 4) for end in wilson_interval(15 / 148, 148)] == [0.0624, 0.1605]


def test_wilson_interval_refuses() -> None:
    with pytest.raises(ValueError, match=r"^num_trials is 0; an interval needs at least 1$"):
        wilson_interval(0.5, 0)
    with pytest.raises(ValueError, match=r"^share is 1\.5; it must lie in 0\.\.1$"):
        wilson_interval(1.5, 3)
