"""Whether the learning rate is what keeps a handful from being learned: a short sweep, and the proof by another run."""

import time
from dataclasses import dataclass

from anysize.doctor.finding import Finding, Severity
from anysize.doctor.learn.case import Case
from anysize.doctor.learn.overfit import Overfit, overfit
from anysize.doctor.sweep import SweepResult, sweep

__all__ = ["RateCheck", "check_rate", "is_suspicious", "top_lr"]

_FACTOR = 10.0  # a rate this much beside the suggestion is told, if the suggestion is proven to do better
_BELOW = 3.0  # times below the rate at which a sweep begins to fall
_LITTLE_FALL = 0.2  # of the loss: a rate by which it falls more is slow at worst
_LEAST_STEPS = 10  # fewer say nothing of a rate that is too low
_HALF = 0.5  # an update half as large as the weights
_STEPS, _FEWEST_STEPS = 40, 12  # of the sweep
_LOW, _HIGH = 1e-6, 10.0


@dataclass(frozen=True)
class RateCheck:
    """What came of asking for the learning rate."""

    findings: tuple[Finding, ...] = ()
    sweep: SweepResult | None = None
    """None where there was no time for one."""
    decided: bool = True
    """Whether the time sufficed to tell."""


def top_lr(case: Case) -> float:
    """The largest rate of the optimiser's groups."""
    return max(float(group["lr"]) for group in case.make_optimizer(case.model).param_groups)


def is_suspicious(run: Overfit) -> bool:
    """Whether the first update replaced the weights by half: with batch normalisation even that may learn a handful."""
    return run.update_ratio > _HALF


def check_rate(case: Case, run: Overfit, seconds: float) -> RateCheck:
    """Sweep the rates, and where another one is suggested, prove it with a run of the same number of steps.

    A rate is too low where the run hardly moved and the loss of the sweep has not begun to fall; too high, ten times
    above the suggestion, where that does better, or where one update replaces half of the weights (a warning, if the
    rate lies within the sweep's range).

    Args:
        case: what did not learn, or did by an update that is suspicious.
        run: how it went.
        seconds: for the sweep and the proof; the sweep takes fewer steps where steps are slow, and is left out where a
            dozen would not fit.
    """
    lr = top_lr(case)
    second_a_step = run.seconds / max(len(run.losses), 1)
    steps = min(_STEPS, int(0.6 * seconds / max(second_a_step, 1e-6)))
    if steps < _FEWEST_STEPS:
        return RateCheck(decided=False)
    started = time.perf_counter()
    with case.trial(train=True) as model:
        result = sweep(
            model,
            [(case.images, case.targets)],
            case.loss,
            case.make_optimizer,
            low=min(_LOW * 10, lr / 10),
            high=max(_HIGH / 10, lr * 10),
            steps=steps,
            ignore_label=case.ignore_label,
            seconds=seconds,
        )
    if not result.complete:
        return RateCheck(sweep=result, decided=False)
    rate = result.suggestion
    if rate is None or result.usable is None:
        return RateCheck(sweep=result)
    bottom, top = result.usable
    is_slow = run.fall < _LITTLE_FALL and len(run.losses) >= _LEAST_STEPS
    if not (lr > rate * _FACTOR or (is_slow and lr * _FACTOR < rate and lr * _BELOW < bottom)):
        return RateCheck(sweep=result)
    left = max(seconds - (time.perf_counter() - started), 0.0)
    proof = overfit(case, steps=max(len(run.losses), 12), seconds=left, lr=rate)
    does_better = proof.fall > run.fall + 0.1 or (proof.learned and not run.learned)
    replaces = is_suspicious(run) and lr > rate * _FACTOR
    if not (does_better or replaces):
        return RateCheck(sweep=result, decided=proof.learned or not proof.cut_short)
    # Behind batch normalisation the scale of weights is nothing: a handful says too little for an error there.
    severity: Severity = "error" if does_better or lr > top else "warning"
    return RateCheck((_finding(severity, lr, rate, result.usable, run, proof),), result)


def _finding(
    severity: Severity, lr: float, rate: float, usable: tuple[float, float], run: Overfit, proof: Overfit
) -> Finding:
    way = "high" if lr > rate else "low"
    times = lr / rate if lr > rate else rate / lr
    proven = f"{proof.losses[-1]:.3g} in {len(proof.losses)}"
    if is_suspicious(run):
        proven += f"; one update is {run.update_ratio:.1f} times the weights"
    if run.learned:
        proven += ", by which a handful is learned and a data set is not"
    return Finding(
        "learning-rate",
        severity,
        f"the learning rate {lr:.2g} is about {times:.0f} times too {way}: the loss went from {run.losses[0]:.3g} to "
        f"{run.losses[-1]:.3g} in {len(run.losses)} steps, with {rate:.2g} to {proven}",
        f"a rate from {usable[0]:.1g} to {usable[1]:.1g}, as a sweep shows",
        f"--lr {rate:.1g}",
    )
