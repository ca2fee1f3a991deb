"""How fast a network steps, and how large a window may be so that enough steps fit into the time.

The number of steps decides what is said of a run; the clock decides how large its images are, and ends it if need be.
"""

import time
from collections.abc import Callable

from anysize.doctor.learn.case import Case
from anysize.memory import is_out_of_memory

__all__ = ["ENOUGH_STEPS", "WHOLE_STEPS", "seconds_a_step", "with_fitting_window"]

ENOUGH_STEPS = 30
"""Updates before it is said of a run that it did not learn: healthy networks take up to so many for a handful."""
WHOLE_STEPS = 80
"""Updates that a whole diagnosis takes, in the worst case: those, a sweep of 25 rates and the proof of another one."""
_WINDOWS = (160, 128)  # pixels a side that are tried where the window asked for takes too long


def with_fitting_window(build: Callable[[int], Case], max_side: int, *, min_side: int, seconds: float) -> Case:
    """Build the case with the largest window of which `WHOLE_STEPS` updates fit into the time, else the smallest.

    Args:
        build: makes the case with windows of at most so many pixels a side.
        max_side: of the window to begin with.
        min_side: what the network requires.
        seconds: that they may take.
    """
    case = build(max_side)
    second, pixels = seconds_a_step(case), _pixels(case)
    for side in _WINDOWS:
        if second * WHOLE_STEPS <= seconds:
            break
        if min_side <= side < max(case.images.shape[2:]):
            case = build(side)
            second, pixels = second * _pixels(case) / pixels, _pixels(case)
    return case


def seconds_a_step(case: Case) -> float:
    """Time an update, the second one where the first was slow: it may hold preparations that come once.

    Returns:
        Seconds; infinite where memory did not suffice, 0 where the update fails otherwise: a probe says why.
    """
    first = _timed(case)
    return first if first < 0.1 or first > 10 else min(first, _timed(case))


def _timed(case: Case) -> float:
    started = time.perf_counter()
    try:
        with case.trial(train=True) as model:
            optimizer = case.make_optimizer(model)
            optimizer.zero_grad(set_to_none=True)
            value = case.value(case.forward())
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            float(value.detach())  # waits for the device
    except Exception as error:
        return float("inf") if is_out_of_memory(error) else 0.0
    return time.perf_counter() - started


def _pixels(case: Case) -> int:
    return int(case.images[:, 0].numel())
