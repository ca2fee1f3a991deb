"""A loss that counts ignored pixels: nothing under the ignore label may change the loss or get a gradient."""

import torch
from torch import Tensor

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case

__all__ = ["ORDER", "probe"]

ORDER = 7
# Exact losses give exactly 0 there; float32 sums over a million pixels err by less than 1e-5.
_GRADIENT = 1e-6
_VALUE = 1e-4


def probe(case: Case) -> list[Finding]:
    """Change logits where targets are ignored, and look at the loss and its gradient there."""
    if case.is_one_hot or case.ignore_label is None or case.num_classes < 2:
        return []
    ignored = case.targets == case.ignore_label
    if not bool(ignored.any()) or bool(ignored.all()):
        return []
    logits = _random_logits(case)
    with torch.enable_grad():
        logits.requires_grad_()
        try:
            value = case.value(logits)
            (gradient,) = torch.autograd.grad(value, logits)
        except (IndexError, RuntimeError) as error:
            return [_refused(case, error)]
    strength = gradient.abs().amax(dim=1)
    there, elsewhere = float(strength[ignored].max()), float(strength[~ignored].max())
    changed = torch.where(ignored.unsqueeze(1), -3 * logits.detach() + 1, logits.detach())
    before, after = float(value.detach()), float(case.value(changed).detach())
    moved = abs(after - before) / max(abs(before), 1e-12)
    if there <= _GRADIENT * elsewhere and moved <= _VALUE:
        return []
    share = float(ignored.float().mean())
    return [
        Finding(
            "ignored",
            "error",
            f"the loss counts ignored pixels: {share:.1%} of the targets are {case.ignore_label}, their gradients are "
            f"up to {there / max(elsewhere, 1e-30):.2g} times those of other pixels, and other outputs there move the "
            f"loss by {moved:.2%}",
            "no loss and no gradient where the label is ignored",
            f"F.cross_entropy(..., ignore_index={case.ignore_label}), or anysize.losses with "
            f"ignore_label={case.ignore_label}; num_classes without the ignored label",
        )
    ]


def _random_logits(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    n, *spatial = case.targets.shape
    return torch.randn(n, case.num_classes, *spatial, generator=generator).to(case.images.device)


def _refused(case: Case, error: Exception) -> Finding:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Finding(
        "ignored",
        "error",
        f"the loss fails on ignored pixels ({case.ignore_label}): {said}",
        "a loss that leaves them out",
        f"F.cross_entropy(..., ignore_index={case.ignore_label}), or anysize.losses with "
        f"ignore_label={case.ignore_label}",
    )
