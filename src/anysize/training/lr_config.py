"""The options of `anysize lr`."""

import math
from dataclasses import dataclass

from anysize.options import require
from anysize.training.config import TrainConfig

__all__ = ["LrConfig"]


@dataclass(frozen=True, kw_only=True)
class LrConfig(TrainConfig):
    """What `anysize lr` does: the options of a training run, of which the rate is sought."""

    low: float = 1e-6
    """First learning rate of the sweep."""
    high: float = 10.0
    """Last learning rate; the sweep ends before where the loss diverges."""
    probes: int = 60
    """How many rates are tried, one update each, on equally many pixels."""
    sweep_batches: int = 8
    """Steps' worth of training images that are held in memory and taken in turn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.low < self.high < math.inf, "low", self.low, f"greater than 0 and below --high {self.high:g}")
        require(self.probes >= 8, "probes", self.probes, "at least 8")
        require(self.sweep_batches >= 1, "sweep_batches", self.sweep_batches, "at least 1")
