"""Streaming metrics, computed from counts over the whole data set."""

from anysize.metrics.by_size import SizeBucket, accuracy_by_size
from anysize.metrics.confusion import ConfusionMatrix
from anysize.metrics.segmentation import ImageScore, SegmentationBucket, SegmentationScores

__all__ = [
    "ConfusionMatrix",
    "ImageScore",
    "SegmentationBucket",
    "SegmentationScores",
    "SizeBucket",
    "accuracy_by_size",
]
