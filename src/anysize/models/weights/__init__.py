"""Weights in and out: from a path, a URL or a hub, in our names or another library's."""

from anysize.models.weights.loading import load_weights
from anysize.models.weights.report import LoadReport
from anysize.models.weights.saving import save_weights

__all__ = ["LoadReport", "load_weights", "save_weights"]
