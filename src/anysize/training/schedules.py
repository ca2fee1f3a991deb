"""Learning rates as pure functions of how far the run is; only the plateau has a memory."""

import math
from dataclasses import dataclass

from anysize.training.config import TrainConfig

__all__ = ["Plateau", "scheduled_lr"]

POLY_POWER = 0.9
LONGEST_WARMUP = 0.2  # share of the run: a run of a few epochs must not be warm-up alone


def scheduled_lr(config: TrainConfig, epochs_done: float, plateau_scale: float = 1.0) -> float:
    """Return the learning rate of the step that begins when ``epochs_done`` epochs (with fractions) are over.

    Args:
        config: ``sched``, ``lr``, ``warmup_epochs`` and ``epochs``.
        epochs_done: 0 at the first step, just under ``epochs`` at the last.
        plateau_scale: what `Plateau` has cut the rate to; used by 'plateau' alone.
    """
    peak = config.peak_lr
    warmup = min(config.warmup_epochs, config.epochs * LONGEST_WARMUP)
    if epochs_done < warmup:
        return peak * max(epochs_done, 1e-3) / warmup
    progress = (epochs_done - warmup) / max(config.epochs - warmup, 1e-9)
    if config.sched == "cosine":  # Loshchilov and Hutter 2017, equation 5, without restarts
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if config.sched == "poly":  # Chen et al. 2018 (DeepLab), section 4.1
        return peak * float((1 - progress) ** POLY_POWER)
    if config.sched == "plateau":
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
