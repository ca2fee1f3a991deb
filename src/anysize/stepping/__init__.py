"""One optimiser update: passes, losses and gradients over a step, and how normalisation behaves in it."""

from anysize.stepping.passes import Passes
from anysize.stepping.step import StepSums, train_step

__all__ = ["Passes", "StepSums", "train_step"]
