"""Answers from a trained network: for each image what it would be alone."""

from anysize.inference.config import EvalConfig, PredictConfig

__all__ = ["EvalConfig", "PredictConfig"]
