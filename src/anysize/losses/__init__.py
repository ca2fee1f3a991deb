"""Losses that return (sum, count), never a mean: means of means are wrong when images differ."""

from anysize.losses.cross_entropy import cross_entropy
from anysize.losses.objective import Objective, Term, create_objective
from anysize.losses.registry import Loss, create_loss, list_losses, loss_options, register_loss
from anysize.losses.sampling import sample_hardest
from anysize.losses.sums import LossSum
from anysize.losses.weighting import WEIGHTINGS, class_weights_from_counts, parse_class_weights

__all__ = [
    "WEIGHTINGS",
    "Loss",
    "LossSum",
    "Objective",
    "Term",
    "class_weights_from_counts",
    "create_loss",
    "create_objective",
    "cross_entropy",
    "list_losses",
    "loss_options",
    "parse_class_weights",
    "register_loss",
    "sample_hardest",
]
