"""Learning rates as plain functions, against their formulas."""

import math

import pytest

from anysize.errors import UsageError
from anysize.stepping.schedules import SCHEDULES, Plateau, scheduled_lr


def rates(sched: str, epochs_done: list[float], **options: float) -> list[float]:
    return [scheduled_lr(sched, peak=0.4, epochs=10, epochs_done=done, **options) for done in epochs_done]


def test_formulas() -> None:
    done = [0, 2.5, 5, 9, 10]
    assert rates("cosine", done) == pytest.approx([0.2 * (1 + math.cos(math.pi * d / 10)) for d in done])
    assert rates("poly", done) == pytest.approx([0.4 * (1 - d / 10) ** 0.9 for d in done])
    assert rates("poly", done, power=2.0) == pytest.approx([0.4 * (1 - d / 10) ** 2 for d in done])
    assert rates("constant", done, plateau_scale=0.5) == [0.4] * 5
    assert rates("plateau", done, plateau_scale=0.5) == pytest.approx([0.2] * 5)


@pytest.mark.parametrize("sched", SCHEDULES)
def test_warm_up_and_beyond_the_end(sched: str) -> None:
    found = rates(sched, [0, 0.5, 1, 1.999999, 2, 10.5], warmup_epochs=2.0)
    assert found[:5] == pytest.approx([0.4 * 0.001 / 2, 0.1, 0.2, 0.4, 0.4], rel=1e-5)
    assert found[5] == pytest.approx(0.0 if sched in ("cosine", "poly") else 0.4)
    assert rates(sched, [1], warmup_epochs=99.0) == pytest.approx([0.2])  # a fifth of the run at most


def test_an_unknown_schedule() -> None:
    with pytest.raises(UsageError, match=r"^sched is 'cos'; it must be one of cosine, poly, plateau, constant$"):
        rates("cos", [0])


def test_the_plateau_cuts_after_its_patience() -> None:
    plateau = Plateau(patience=2, factor=0.5)
    assert [plateau.update(loss) for loss in (1.0, 0.9, 0.9, 0.95, 0.8, float("nan"))] == [
        False, False, False, True, False, False,
    ]  # fmt: skip
    assert (plateau.scale, plateau.best) == (0.5, 0.8)
