"""A softmax or sigmoid in front of a loss that expects logits; or logits for a loss that expects probabilities."""

import torch
from torch import Tensor

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import NO_CLASS, Case

__all__ = ["ORDER", "probe"]

ORDER = 20
_TOLERANCE = 1e-3
_UNSATISFIED = 0.1  # of the loss of inverted probabilities: cross-entropy keeps 0.3 and more for perfect ones
_LOUD = 100.0  # images times this: chance values leave 0..1, a squashed output stays


def probe(case: Case) -> list[Finding]:
    """Look at the range of the outputs, and at what the loss makes of perfect answers in several forms."""
    kind = _kind(case)
    expects = _expects(case)
    case.figures["loss_of_perfect_probabilities"] = expects[1]
    if kind in ("softmax", "sigmoid") and expects[0] == "logits":
        return [
            Finding(
                "activation",
                "error",
                f"the model ends in a {kind} (outputs lie in 0..1), and the loss expects logits: even perfect outputs "
                f"would leave a loss of {expects[1]:.3g}, with gradients that vanish",
                "logits: any real numbers",
                f"leave out the {kind} in the model; apply it to predictions only",
            )
        ]
    if kind == "logits" and expects[0] == "log-probabilities":
        return [
            Finding(
                "activation",
                "error",
                "the loss expects log-probabilities (it falls without bound on raw outputs), the model gives logits",
                "log_softmax in front of it",
                "F.cross_entropy(logits, ...) instead of F.nll_loss, or F.log_softmax(logits, dim=1) before it",
            )
        ]
    return []


def _kind(case: Case) -> str:
    """What the outputs look like."""
    with torch.no_grad(), case.trial(train=False):
        outputs = [case.forward().detach(), case.forward(case.images * _LOUD).detach()]
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        return "logits"
    if all(float(o.min()) >= -_TOLERANCE and float(o.max()) <= 1 + _TOLERANCE for o in outputs):
        if all(bool(((o.sum(dim=1) - 1).abs() < _TOLERANCE).all()) for o in outputs) and outputs[0].shape[1] > 1:
            return "softmax"
        # A ReLU or a constant in 0..1 is no sigmoid: that one leaves its middle when the input is loud.
        return "sigmoid" if float(outputs[1].std()) > 0.05 and float(outputs[1].max()) > 0.9 else "logits"
    if all(bool((torch.logsumexp(o, dim=1).abs() < _TOLERANCE).all()) for o in outputs):
        return "log-softmax"
    return "logits"


def _expects(case: Case) -> tuple[str, float]:
    """What the loss takes, and its value for perfect probabilities."""
    truth = _truth(case)
    if truth is None:
        return "unknown", float("nan")
    with torch.no_grad():
        try:
            perfect = float(case.value(truth))
            sharp = float(case.value(40 * truth - 20))
            inverted = float(case.value(1 - truth))
            sharper = float(case.value(80 * truth))
        except (RuntimeError, ValueError, IndexError, TypeError):
            return "unknown", float("nan")
    if sharper < sharp - 1 and sharper < 0 and perfect < 0:
        return "log-probabilities", perfect
    # A loss of logits is not satisfied by 0 and 1: the softmax of a one-hot vector is far from one-hot.
    if perfect - sharp > _UNSATISFIED * (inverted - sharp) > 0:
        return "logits", perfect
    return "unknown", perfect


def _truth(case: Case) -> Tensor | None:
    """1 in the channel of each label, 0 in the others (and where nothing counts)."""
    valid = case.labels != NO_CLASS
    if case.num_classes < 2 or not bool(valid.any()):
        return None
    hot = torch.nn.functional.one_hot(case.labels.clamp(min=0), case.num_classes).movedim(-1, 1).float()
    return hot * valid.unsqueeze(1)
