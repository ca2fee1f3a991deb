"""Which images lie on which canvas, checked image by image."""

import numpy as np
import pytest

from anysize.batching import Plan, SizeHistogram
from anysize.memory import MemoryUse
from anysize.planning.choices import chosen_canvases, make_plan
from anysize.planning.config import PlanConfig
from anysize.planning.laid import canvas_rows, lay_out, worst_batches

SIZES = np.random.default_rng(1).integers(30, 300, (240, 2))
PATHS = [f"{number}.png" for number in range(len(SIZES))]


def planned(max_canvases: int | None, max_pixels: int = 8_000_000) -> tuple[Plan, object]:
    config = PlanConfig(max_canvases=max_canvases, batch_size=16)
    chosen = chosen_canvases(SizeHistogram.of(SIZES, 8), config, config.pixel_limit)
    return make_plan(SIZES, config, max_pixels, chosen), chosen


@pytest.mark.parametrize("max_canvases", [None, 3])
def test_every_image_is_counted_where_it_lies(max_canvases: int | None) -> None:
    plan, chosen = planned(max_canvases)
    laid = lay_out(plan, SIZES, chosen)
    seen = 0
    for step in plan:
        for batch in step.micro_batches:
            for image in batch.indices:
                assert tuple(laid.canvases[laid.of[image]]) == batch.canvas
                seen += 1
    assert seen == len(SIZES) == laid.num_images.sum()
    assert laid.num_forwards.sum() == len(plan.lengths())
    assert laid.real_pixels.sum() == SIZES.prod(axis=1).sum()
    assert (np.diff(laid.canvases.prod(axis=1)) >= 0).all()
    static = set() if chosen is None else set(chosen.canvases)
    assert [tuple(canvas) not in static for canvas in laid.canvases.tolist()] == (
        laid.is_own | (chosen is None)
    ).tolist()
    assert laid.is_own.any() == (max_canvases is not None)


def test_rows_add_up() -> None:
    plan, chosen = planned(3, max_pixels=400_000)
    rows = canvas_rows(lay_out(plan, SIZES, chosen), 16, 400_000, MemoryUse(1000, 10.0, 1.0))
    assert [row.canvas is None for row in rows] == [False, False, False, True]
    assert sum(row.num_images for row in rows) == len(SIZES)
    assert sum(row.image_share for row in rows) == pytest.approx(1)
    assert sum(row.pixel_share for row in rows) == pytest.approx(1)
    assert sum(row.num_forwards for row in rows) == len(plan.lengths())
    for row in rows[:-1]:
        assert row.canvas is not None
        area = row.canvas[0] * row.canvas[1]
        assert row.max_images == 400_000 // area
        assert row.batch_images == min(16, row.max_images)
        assert row.batch_bytes == 1000 + 10 * area * row.batch_images
    assert rows[-1].batch_images == 1
    assert canvas_rows(lay_out(plan, SIZES, chosen), 16, 400_000, None)[0].batch_bytes is None


def test_the_worst_are_found() -> None:
    plan, _ = planned(None)
    worst, largest = worst_batches(plan, SIZES, PATHS, 3)
    found = []
    for step in plan:
        for batch in step.micro_batches:
            real = sum(int(SIZES[image].prod()) for image in batch.indices)
            found.append(
                (1 - real / batch.canvas_pixels, batch.canvas_pixels / 1e6, tuple(PATHS[i] for i in batch.indices))
            )
    expected = sorted(found, key=lambda one: -one[0])[:3]
    assert [batch.padding_share for batch in worst] == pytest.approx([share for share, *_ in expected])
    assert [batch.paths for batch in worst] == [paths for *_, paths in expected]
    assert largest.megapixels == max(megapixels for _, megapixels, _ in found)


def test_nothing_is_bad_without_padding() -> None:
    sizes = np.full((4, 2), 8)
    plan = make_plan(sizes, PlanConfig(batch_size=2), 1000, None)
    worst, largest = worst_batches(plan, sizes, PATHS[:4], 3)
    assert worst == []
    assert (largest.canvas, largest.num_images) == ((8, 8), 2)
