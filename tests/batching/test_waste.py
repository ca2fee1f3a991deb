"""Waste against naive loops."""

import numpy as np
import pytest

from anysize.batching import (
    Waste,
    measure_waste,
    padding_share,
    plan_epoch,
    usual_ways,
    worst_micro_batch,
)
from anysize.errors import PlanError

SIZES = np.random.default_rng(3).lognormal(4, 0.5, (301, 2)).astype(int) + 1


def naive_pixels(micro_batch, sizes):
    real = canvas = 0
    for index in micro_batch.indices:
        real += int(sizes[index][0]) * int(sizes[index][1])
        canvas += micro_batch.canvas[0] * micro_batch.canvas[1]
    return real, canvas


@pytest.mark.parametrize("options", [{}, {"mixing": "mixed", "num_ranks": 3, "launch_pixels": 1000}])
def test_plan_waste(options):
    plan = plan_epoch(SIZES, 16, multiple_of=4, **options)
    for part in (plan, plan[5:], plan.for_rank(0)):
        batches = [micro_batch for step in part for micro_batch in step.micro_batches]
        pixels = [naive_pixels(micro_batch, SIZES) for micro_batch in batches]
        real, canvas = (sum(column) for column in zip(*pixels, strict=True))
        assert measure_waste(part, SIZES) == Waste(real, canvas)
        assert padding_share(part, SIZES) == 1 - real / canvas
        shares = [1 - real / canvas for real, canvas in pixels]
        worst = worst_micro_batch(part, SIZES)
        assert worst.most_padded == batches[shares.index(max(shares))]
        assert worst.most_padded_share == pytest.approx(max(shares), rel=1e-12)
        totals = [canvas for _, canvas in pixels]
        assert worst.largest == batches[totals.index(max(totals))]
        assert worst.largest_pixels == max(totals)


def test_usual_ways_by_hand():
    sizes = [(10, 10), (20, 10), (10, 40)]
    ways = usual_ways(sizes, 3, side=15)
    assert ways.pad_to_largest == Waste(700, 2400)
    assert ways.random_batches == Waste(700, 2400)  # one batch of all
    assert ways.pad_to_largest.share == 1 - 700 / 2400
    assert usual_ways(sizes, 1).random_batches == Waste(700, 700)
    assert ways.square.side == 15
    assert ways.square.median_distortion == 2
    assert ways.square.distorted_share == 2 / 3
    assert ways.square.lost_share == 175 / 700
    assert ways.square.invented_share == (125 + 25) / 675
    assert usual_ways(sizes, 3).square.side == round((700 / 3) ** 0.5)


def test_usual_ways_against_loops():
    ways = usual_ways(SIZES, 32, seed=1)
    areas = [int(h) * int(w) for h, w in SIZES]
    assert ways.pad_to_largest == Waste(sum(areas), int(SIZES[:, 0].max() * SIZES[:, 1].max()) * len(SIZES))
    assert ways.random_batches.real_pixels == sum(areas)
    assert ways.random_batches.share > padding_share(plan_epoch(SIZES, 32), SIZES)
    assert ways.random_batches.share < ways.pad_to_largest.share
    assert ways.random_batches != usual_ways(SIZES, 32, seed=2).random_batches
    aspects = [max(h / w, w / h) for h, w in SIZES]
    square = ways.square.side**2
    assert ways.square.distorted_share == sum(aspect > 1.25 for aspect in aspects) / len(SIZES)
    assert ways.square.median_distortion == sorted(aspects)[150]
    lost = sum(max(0, area - square) for area in areas)
    assert ways.square.lost_share == pytest.approx(lost / sum(areas), rel=1e-12)
    invented = sum(max(0, square - area) for area in areas)
    assert ways.square.invented_share == pytest.approx(invented / (square * len(areas)), rel=1e-12)


def test_an_empty_plan_and_foreign_sizes():
    plan = plan_epoch(SIZES, 16)
    assert measure_waste(plan[:0], SIZES) == Waste(0, 0)
    assert padding_share(plan[:0], SIZES) == 0
    with pytest.raises(PlanError) as caught:
        worst_micro_batch(plan[:0], SIZES)
    assert str(caught.value) == "this plan has no micro-batches, so none is the worst"
    with pytest.raises(PlanError) as caught:
        padding_share(plan, SIZES[:9])
    assert str(caught.value) == (
        "the plan has image 300, and there are sizes of 9 images only\nhint: give the sizes that the plan was made from"
    )
    with pytest.raises(PlanError, match=r"^side is 0; an integer of at least 1 is needed$"):
        usual_ways(SIZES, 16, side=0)
