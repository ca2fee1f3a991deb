"""Losses that return (sum, count), never a mean: means of means are wrong when images differ."""

from anysize.losses.cross_entropy import LossSum, cross_entropy

__all__ = ["LossSum", "cross_entropy"]
