"""Streaming metrics, computed from counts over the whole data set."""

from anysize.metrics.by_size import SizeBucket, accuracy_by_size
from anysize.metrics.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix", "SizeBucket", "accuracy_by_size"]
