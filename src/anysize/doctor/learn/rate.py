"""Whether the learning rate is what keeps a handful from being learned: a short sweep, and the proof by another run."""

import time

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case
from anysize.doctor.learn.overfit import Overfit, overfit
from anysize.doctor.sweep import SweepResult, sweep

__all__ = ["check_rate", "top_lr"]

_FACTOR = 10.0  # a rate this much beside the suggestion is told, if the suggestion is proven to do better
_STEPS = 40
_LOW, _HIGH = 1e-6, 10.0


def top_lr(case: Case) -> float:
    """The largest rate of the optimiser's groups."""
    return max(float(group["lr"]) for group in case.make_optimizer(case.model).param_groups)


def check_rate(case: Case, run: Overfit, seconds: float) -> tuple[list[Finding], SweepResult | None]:
    """Sweep the rates, and where another one is suggested, prove it with a run of the same number of steps.

    Args:
        case: what did not learn.
        run: how it did not.
        seconds: for the sweep and the proof; the sweep takes fewer steps where steps are slow.
    """
    lr = top_lr(case)
    second_a_step = run.seconds / max(len(run.losses), 1)
    steps = max(12, min(_STEPS, int(0.6 * seconds / max(second_a_step, 1e-6))))
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
        )
    rate = result.suggestion
    if rate is None or result.usable is None or 1 / _FACTOR < lr / rate < _FACTOR:
        return [], result
    left = max(seconds - (time.perf_counter() - started), 5 * second_a_step)
    proof = overfit(case, steps=max(len(run.losses), 12), seconds=left, lr=rate)
    if proof.fall < max(2 * run.fall, run.fall + 0.1) and not proof.learned:
        return [], result
    return [_finding(lr, rate, result.usable, run, proof)], result


def _finding(lr: float, rate: float, usable: tuple[float, float], run: Overfit, proof: Overfit) -> Finding:
    way = "high" if lr > rate else "low"
    times = lr / rate if lr > rate else rate / lr
    return Finding(
        "learning-rate",
        "error",
        f"the learning rate {lr:.2g} is about {times:.0f} times too {way}: the loss went from {run.losses[0]:.3g} to "
        f"{run.losses[-1]:.3g} in {len(run.losses)} steps, with {rate:.2g} to {proof.losses[-1]:.3g} in "
        f"{len(proof.losses)}",
        f"a rate from {usable[0]:.1g} to {usable[1]:.1g}, as a sweep shows",
        f"--lr {rate:.1g}",
    )
