"""What is measured of the company that images keep."""

import numpy as np
import pytest

from anysize.batching import Plan, measure_mixture, meeting_again, plan_epoch
from anysize.errors import PlanError
from plan_checks import random_sizes


def test_uniform_draws_measure_as_uniform_and_sorted_ones_as_sorted():
    sizes = random_sizes(6400)
    mixed = measure_mixture(plan_epoch(sizes, 64, mixing="mixed"), sizes)
    assert mixed.area == pytest.approx(1, abs=0.02)
    assert mixed.aspect == pytest.approx(1, abs=0.02)
    assert mixed.area_shares == pytest.approx(mixed.uniform_shares, abs=0.01)
    assert mixed.area_shares.sum() == pytest.approx(1)
    # Two independent ranks are x apart with density 2 (1 - x).
    edges = np.arange(21) / 20
    assert mixed.uniform_shares == pytest.approx(np.diff(2 * edges - edges**2), abs=0.01)
    ordered = sizes[np.argsort(sizes.prod(axis=1))]
    alike = measure_mixture(plan_epoch(ordered, 64, mixing="mixed", shuffle=False), ordered)
    # Neighbours in steps of 64 of 6400: a third of a hundredth apart, over a third.
    assert alike.area == pytest.approx(0.01, abs=0.002)
    assert alike.area_shares[0] == 1
    similar = measure_mixture(plan_epoch(sizes, 64), sizes)
    assert alike.area < similar.area < 0.5
    assert similar.aspect < 0.7


def test_pairs_are_those_of_steps_not_of_micro_batches():
    sizes = random_sizes(640)
    whole = measure_mixture(plan_epoch(sizes, 64, mixing="mixed", launch_pixels=np.inf), sizes)
    split = measure_mixture(plan_epoch(sizes, 64, mixing="mixed", launch_pixels=0, num_ranks=3), sizes)
    assert whole.area == split.area
    assert whole.aspect == split.aspect


def test_pairs_meet_again_by_chance_when_mixed_and_more_often_when_similar():
    sizes = random_sizes(3200)
    mixed, similar, sorted_ = (
        meeting_again(*(plan_epoch(sizes, 32, epoch=epoch, **way) for epoch in (0, 1)))
        for way in ({"mixing": "mixed"}, {}, {"jitter": 0.0})
    )
    assert mixed == pytest.approx(1, abs=0.1)
    assert 2 < similar < sorted_
    plan = plan_epoch(sizes, 32)
    assert meeting_again(plan, plan) == pytest.approx(3199 / 31)


def test_all_equal_sizes_are_nowhere_far():
    sizes = [(20, 30)] * 64
    mixture = measure_mixture(plan_epoch(sizes, 8), sizes)
    assert mixture.area == 0


def test_errors():
    sizes = random_sizes(10)
    plan = plan_epoch(sizes, 4)
    with pytest.raises(PlanError, match="the plan holds 4 images, and not each of 10 once"):
        measure_mixture(plan[:1], sizes)
    with pytest.raises(PlanError, match="no two images share a step"):
        measure_mixture(plan_epoch(sizes, 1), sizes)
    with pytest.raises(PlanError, match="no two images share a step"):
        meeting_again(plan, plan_epoch(sizes, 1))
    with pytest.raises(PlanError, match="not each of 10 once"):
        measure_mixture(Plan.joined([plan[:2], plan[:1]]), sizes)
