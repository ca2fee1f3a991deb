"""From options to a trained network in a run folder: stages, steps, schedules and checkpoints."""

from anysize.training.config import TrainConfig

__all__ = ["TrainConfig"]
