"""What a diagnosis of learning says."""

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from anysize.doctor.finding import Finding
from anysize.doctor.sweep import SweepResult

__all__ = ["Learned", "LearningReport"]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One of the windows that were to be learned, and the answer at the end."""

    sample: int
    """Which of the samples as given."""
    image: Tensor
    """(C, H, W), normalised as it was given."""
    truth: Tensor
    """(H, W) int64, or () for a class of the image; -1 where nothing counts."""
    prediction: Tensor
    """As ``truth``; of the last step, before its update."""


@dataclass(frozen=True, kw_only=True)
class LearningReport:
    """Whether a network learns a handful of samples by heart, and what stands in the way."""

    learned: bool
    """Whether the overfit run succeeded: Cohen's kappa of 0.4 and more, and a loss that fell. A run can succeed in
    spite of findings: batch normalisation in training mode hides a wrong range of the inputs, for one."""
    findings: tuple[Finding, ...]
    """Most severe first; empty where all is well."""
    losses: tuple[float, ...]
    """Of the overfit run; empty where it could not be made."""
    accuracy: float
    """At its end, 0..1, over pixels that count; NaN where it could not be made."""
    mean_iou: float
    """At its end, over the classes present."""
    kappa: float
    """Cohen's kappa at its end: the median of the last three steps."""
    lr: float
    """Largest rate of the optimiser's groups."""
    size: tuple[int, int]
    """(height, width) that the samples were cut to."""
    num_samples: int
    seconds: float
    too_slow: bool = False
    """Whether too few updates fitted into the time to tell whether it learns: then `learned` is False, and says
    nothing."""
    seconds_wanted: float = float("nan")
    """How many seconds would suffice, where it was too slow."""
    figures: dict[str, float] = field(default_factory=dict)
    """What the probes measured, by name."""
    sweep: SweepResult | None = None
    """The sweep of learning rates, where one was made."""
    handful: tuple[Learned, ...] = ()
    """What was to be learned, and the answers; empty where it could not be tried."""

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way: learned, and no error."""
        return self.learned and all(finding.severity != "error" for finding in self.findings)

    @property
    def failed(self) -> bool:
        """Whether it is known that something stands in the way: an error, or that it did not learn."""
        return any(finding.severity == "error" for finding in self.findings) or not (self.learned or self.too_slow)

    def lines(self) -> list[str]:
        """Readable lines: the verdict, then each finding with its fix."""
        height, width = self.size
        what = f"{self.num_samples} samples of {height}x{width} (height x width)"
        if self.losses:
            run = (
                f"loss {self.losses[0]:.3g} to {self.losses[-1]:.3g} in {len(self.losses)} steps, accuracy "
                f"{self.accuracy:.1%}, mean IoU {self.mean_iou:.1%}"
            )
            verdict = f"{self._said} {what}{', but see the error' * (self.learned and self.failed)}: {run}"
        else:
            verdict = f"could not try to learn {what}"
        if self.too_slow:
            tried = (
                f"{len(self.losses)} step{'s' * (len(self.losses) != 1)}" if self.losses else "not even the first looks"
            )
            verdict = (
                f"too slow to tell whether it learns {what}: {tried} in {self.seconds:.0f} seconds; `anysize doctor "
                f"learn` with --seconds {self.seconds_wanted:.0f} could"
            )
        return [verdict, *(line for finding in self.findings for line in str(finding).splitlines())]

    @property
    def _said(self) -> str:
        if not self.learned:
            return "did not learn"
        return "learned these" if self.failed else "learned"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON takes them; numbers that are not finite become None."""
        return {
            "learned": self.learned,
            "ok": self.ok,
            "too_slow": self.too_slow,
            "findings": [finding.to_json() for finding in self.findings],
            "losses": [_finite(loss) for loss in self.losses],
            "accuracy": _finite(self.accuracy),
            "mean_iou": _finite(self.mean_iou),
            "kappa": _finite(self.kappa),
            "lr": _finite(self.lr),
            "size": list(self.size),
            "num_samples": self.num_samples,
            "seconds": _finite(self.seconds),
            "figures": {name: _finite(value) for name, value in self.figures.items()},
            "suggested_lr": None if self.sweep is None else self.sweep.suggestion,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
