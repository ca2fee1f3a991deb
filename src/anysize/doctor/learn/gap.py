"""Whether evaluation sees the network that was trained: the same images in both modes, after the overfit run."""

import copy
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case
from anysize.doctor.learn.overfit import agreement

__all__ = ["measure_gap"]

_PASSES = 2
_KAPPA = 0.4  # agreement in training mode that has to be lost for a claim
_LOST = 0.5  # of it


def measure_gap(case: Case) -> list[Finding]:
    """Compare training and evaluation mode, with running statistics re-estimated on these very images.

    Called with the trained model in place. Right after some dozen steps running statistics lag behind the weights in
    any network; that is no fault, and re-estimating them removes it. What remains is one: normalisation or dropout that
    does not follow the mode, or statistics that cannot be estimated. Dropout is off throughout.
    """
    model = case.model
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    with torch.no_grad():
        logits = case.forward()
        trained = (float(case.value(logits)), agreement(case, case.predictions(logits))[0])
        flags: list[Any] = [(m, m.training) for m in model.modules()]
        model.eval()
        logits = case.forward()
        lagging = float(case.value(logits))
        for module, flag in flags:
            module.training = flag
        _estimate(case, layers)
        model.eval()
        logits = case.forward()
        evaluated = (float(case.value(logits)), agreement(case, case.predictions(logits))[0])
    case.figures.update(
        loss_in_training_mode=trained[0],
        loss_in_evaluation_mode=lagging,
        loss_in_evaluation_mode_recalibrated=evaluated[0],
    )
    if trained[1] < _KAPPA or evaluated[1] > (1 - _LOST) * trained[1]:
        return []
    what = "batch normalisation's training and evaluation outputs are" if layers else "training and evaluation are"
    return [
        Finding(
            "batch-norm",
            "warning",
            f"{what} far apart: after the overfit run the same images have a loss of {trained[0]:.3g} in training mode "
            f"and {evaluated[0]:.3g} in evaluation (agreement with labels {trained[1]:.2f} and {evaluated[1]:.2f}), "
            "with statistics estimated on these very images",
            "the same answers in both modes, but for dropout",
            "look for F.dropout without training=self.training, batch_norm calls of your own, or too few values a "
            "channel; --batch-norm frozen or group goes round it",
        )
    ]


def _estimate(case: Case, layers: list[_BatchNorm]) -> None:
    """Replace running statistics by the mean over these images of those that are live; `Case.trial` undoes it."""
    for layer in layers:
        if layer.training and layer.track_running_stats:
            layer.reset_running_stats()
            layer.momentum = None
    for _ in range(_PASSES):
        case.forward(copy.copy(case.images))
