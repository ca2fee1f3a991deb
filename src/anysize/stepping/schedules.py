"""Learning rates as pure functions of how far the run is; only the plateau has a memory."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from anysize.errors import UsageError

__all__ = ["SCHEDULES", "Plateau", "Schedule", "scheduled_lr"]

Schedule = Literal["cosine", "poly", "plateau", "constant"]

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

POLY_POWER = 0.9
LONGEST_WARMUP = 0.2  # share of the run: a run of a few epochs must not be warm-up alone


def scheduled_lr(
    sched: str,
    *,
    peak: float,
    epochs: float,
    epochs_done: float,
    warmup_epochs: float = 0.0,
    plateau_scale: float = 1.0,
    power: float = POLY_POWER,
) -> float:
    """Return the learning rate of the step that begins when ``epochs_done`` epochs (with fractions) are over.

    Args:
        sched: ``cosine``, ``poly``, ``plateau`` or ``constant``.
        peak: the rate after the warm-up.
        epochs: of the whole run, warm-up included.
        epochs_done: 0 at the first step, just under ``epochs`` at the last: rates change at each step.
        warmup_epochs: in which the rate rises linearly from next to nothing; at most a fifth of the run.
        plateau_scale: what `Plateau` has cut the rate to; used by ``plateau`` alone.
        power: of ``poly``.

    Raises:
        UsageError: an unknown schedule.
    """
    if sched not in SCHEDULES:
        raise UsageError(f"sched is {sched!r}; it must be one of {', '.join(SCHEDULES)}")
    warmup = min(warmup_epochs, epochs * LONGEST_WARMUP)
    if epochs_done < warmup:
        return peak * max(epochs_done, 1e-3) / warmup
    # At the end, and not beyond it: a negative number has no power of 0.9.
    progress = min((epochs_done - warmup) / max(epochs - warmup, 1e-9), 1.0)
    if sched == "cosine":  # Loshchilov and Hutter 2017, equation 5, without restarts
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if sched == "poly":  # Chen et al. 2017 (DeepLab, arXiv 1606.00915), section 4.1.1
        return peak * float((1 - progress) ** power)
    if sched == "plateau":
        return peak * plateau_scale
    return peak


@dataclass
class Plateau:
    """Cuts the learning rate when the validation loss has not fallen for some epochs."""

    patience: int
    factor: float
    scale: float = 1.0
    best: float = math.inf
    epochs_since_best: int = 0

    def update(self, loss: float) -> bool:
        """Take the validation loss of an epoch; returns whether the rate was cut."""
        if loss < self.best:
            self.best, self.epochs_since_best = loss, 0
            return False
        self.epochs_since_best += 1
        if self.epochs_since_best < self.patience:
            return False
        self.scale *= self.factor
        self.epochs_since_best = 0
        return True
