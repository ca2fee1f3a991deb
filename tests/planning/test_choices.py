"""The table of K: real plans, counted and priced."""

from dataclasses import replace

import numpy as np
import pytest

from anysize.batching import SizeHistogram
from anysize.planning import choices
from anysize.planning.choices import CanvasChoice, chosen_canvases, compare_choices, make_plan, mark_fastest
from anysize.planning.config import PlanConfig
from anysize.timing import StepCost

LIMIT = 8_000_000


def random_sizes(num_images: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 400, (num_images, 2))


def compared(sizes: np.ndarray, config: PlanConfig) -> list[CanvasChoice]:
    histogram = SizeHistogram.of(sizes, config.multiple_of)
    chosen = chosen_canvases(histogram, config, config.pixel_limit)
    plan = make_plan(sizes, config, LIMIT, chosen)
    return compare_choices(lambda _: sizes, histogram, chosen, config, LIMIT, plan)


@pytest.mark.parametrize("mixing", ["mixed", "similar"])
def test_rows_tell_of_real_plans(mixing: str) -> None:
    sizes = random_sizes()
    config = PlanConfig(mixing=mixing, max_canvases=5, multiple_of=16, batch_size=20)
    rows = compared(sizes, config)
    assert [row.max_canvases for row in rows] == [1, 2, 4, 5, 8, 16, 32, None]
    assert [row.max_canvases for row in rows if row.is_chosen] == [5]
    shares = [row.padding_share for row in rows]
    assert shares == sorted(shares, reverse=True) or mixing == "similar"
    plan = make_plan(sizes, config, LIMIT, chosen_canvases(SizeHistogram.of(sizes, 16), config, config.pixel_limit))
    row = rows[3]
    areas = plan.canvases().prod(axis=1) * plan.lengths()
    assert row.canvas_pixels == areas.sum()
    assert row.padding_share == pytest.approx(1 - sizes.prod(axis=1).sum() / areas.sum())
    assert (row.num_forwards, row.forwards_per_step) == (len(areas), len(areas) / 20)
    shapes = {(n, *canvas) for n, canvas in zip(plan.lengths().tolist(), map(tuple, plan.canvases()), strict=True)}
    assert row.new_canvases_first_epoch == len(shapes)
    assert all(0 <= row.own_share <= 0.05 for row in rows)
    assert rows[-1].own_share == 0


def test_one_size_needs_one_canvas() -> None:
    rows = compared(np.full((50, 2), 64), PlanConfig(batch_size=10))
    assert [row.max_canvases for row in rows] == [1, None]
    assert [row.padding_share for row in rows] == [0.0, 0.0]
    assert [row.is_chosen for row in rows] == [False, True]
    assert [(row.new_canvases_first_epoch, row.new_canvases_later_epoch) for row in rows] == [(1, 0), (1, 0)]


def test_a_sample_tells_about_as_much_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "NUMBERS", (1, 8))
    sizes = random_sizes(8_000)
    config = PlanConfig()
    whole = compared(sizes, config)
    monkeypatch.setattr(choices, "SAMPLE", 2_000)
    part = compared(sizes, config)
    assert part[-1].padding_share == whole[-1].padding_share  # the chosen one tells of all images
    assert part[-1].canvas_pixels == whole[-1].canvas_pixels
    for one, other in zip(whole, part, strict=True):
        assert other.padding_share == pytest.approx(one.padding_share, abs=0.01)
        assert other.canvas_pixels == pytest.approx(one.canvas_pixels, rel=0.03)
        assert other.num_forwards == pytest.approx(one.num_forwards, rel=0.05)
        # Extrapolated, by a rule of thumb.
        assert other.new_canvases_first_epoch == pytest.approx(one.new_canvases_first_epoch, rel=0.5)


def test_times_are_predicted_and_the_least_is_marked() -> None:
    row = CanvasChoice(
        max_canvases=1,
        num_canvases=1,
        padding_share=0.5,
        own_share=0.0,
        canvas_pixels=2e6,
        num_forwards=10,
        forwards_per_step=2.0,
        new_canvases_first_epoch=4,
        new_canvases_later_epoch=0.5,
    )
    free = replace(row, max_canvases=None, canvas_pixels=1e6, num_forwards=20, new_canvases_first_epoch=40)
    cost = StepCost(seconds_per_pixel=1e-6, seconds_per_launch=0.01, seconds_per_new_canvas=1.0, seconds_per_step=0.1)
    one, other = mark_fastest([row, free], cost, 5, 1)
    assert one.first_epoch_seconds == pytest.approx(2 + 0.1 + 4 + 0.5)
    assert one.later_epoch_seconds == pytest.approx(2 + 0.1 + 0.5 + 0.5)
    assert (one.total_seconds, other.total_seconds) == (one.first_epoch_seconds, other.first_epoch_seconds)
    assert (one.is_fastest, other.is_fastest) == (True, False)
    # Over many epochs its compilations are paid for.
    one, other = mark_fastest([row, free], cost, 5, 100)
    assert other.total_seconds == pytest.approx(1 + 0.2 + 40 + 0.5 + 99 * (1 + 0.2 + 0.5 + 0.5))
    assert (one.is_fastest, other.is_fastest) == (False, True)
    assert mark_fastest([row, free], None, 5, 100) == [row, free]
