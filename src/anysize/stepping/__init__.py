"""One optimiser update: passes, losses and gradients over a step, and how normalisation behaves in it."""

from anysize.stepping.passes import Passes
from anysize.stepping.step import train_step
from anysize.stepping.sums import StepSums

__all__ = ["Passes", "StepSums", "train_step"]
