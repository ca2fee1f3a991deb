"""Epochs of a run: canvases chosen once, sizes anew."""

import numpy as np
import pytest

from anysize.batching import Plan, PlanStream, plan_epoch
from anysize.errors import PlanError
from anysize.loading import EpochPlanner
from anysize.loading import epochs as epochs_module
from anysize.options import BatchOptions
from anysize.sizes.start_size import StartSize
from plan_checks import check


def sizes_of(epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).integers(20, 90, (200, 2))


def test_static_canvases_are_the_same_in_every_epoch_and_hold_every_image():
    planner = EpochPlanner(sizes_of, BatchOptions(max_canvases=5, batch_size=16), seed=3)
    assert planner.canvases is not None
    assert len(planner.canvases) == 5
    for epoch in range(6):
        plan = planner.plan(epoch)
        check(plan, sizes_of(epoch), 16, multiple_of=8, canvases=planner.canvases)
    again = EpochPlanner(sizes_of, BatchOptions(max_canvases=5, batch_size=16), seed=3)
    assert again.plan(4).digest() == planner.plan(4).digest()


def test_free_canvases_are_those_of_plan_epoch():
    options = BatchOptions(batch_size=16, mixing="similar", pool=64, max_pixels=100_000)
    planner = EpochPlanner(sizes_of, options, seed=3)
    assert planner.canvases is None
    expected = plan_epoch(
        sizes_of(2), 16, max_pixels=100_000, multiple_of=8, pool=64, seed=3, epoch=2, launch_pixels=16_384
    )
    assert planner.plan(2) == expected


def smaller_at_first(epoch: int) -> np.ndarray:
    return sizes_of(epoch) // (3 if epoch < 2 else 1)


def test_a_step_of_smaller_images_has_more_of_them():
    planner = EpochPlanner(smaller_at_first, BatchOptions(batch_size=4), seed=3, start=StartSize(30, 2))
    ratio = smaller_at_first(2).prod(axis=1).mean() / smaller_at_first(0).prod(axis=1).mean()
    assert 8 < ratio < 10
    assert [planner.batch_size(epoch) for epoch in range(4)] == [round(4 * ratio)] * 2 + [4] * 2
    pixels = []
    for epoch in range(4):
        sizes, plan = smaller_at_first(epoch), planner.plan(epoch)
        check(plan, sizes, planner.batch_size(epoch), multiple_of=8)
        pixels.append(sizes.prod(axis=1).sum() / len(plan))
    assert max(pixels) < 1.3 * min(pixels)


def test_static_canvases_are_for_both_sizes():
    planner = EpochPlanner(smaller_at_first, BatchOptions(batch_size=4, max_canvases=6), seed=3, start=StartSize(30, 2))
    assert planner.canvases is not None
    longer = sorted(max(canvas) for canvas in planner.canvases.canvases)
    assert longer[0] <= 32 < 80 < longer[-1]
    for epoch in (0, 3):
        check(
            planner.plan(epoch), smaller_at_first(epoch), planner.batch_size(epoch), multiple_of=8,
            canvases=planner.canvases,
        )  # fmt: skip


def test_very_many_images_are_streamed(monkeypatch):
    assert isinstance(EpochPlanner(sizes_of, BatchOptions(), seed=0).plan(0), Plan)
    monkeypatch.setattr(epochs_module, "default_pool", lambda _: 199)
    stream = EpochPlanner(sizes_of, BatchOptions(), seed=0).plan(0)
    assert isinstance(stream, PlanStream)
    check(Plan.joined(list(stream.plans())), sizes_of(0), 32, multiple_of=8)


def test_an_image_above_the_limit_is_an_error():
    with pytest.raises(PlanError, match="more than max_pixels=5000"):
        EpochPlanner(sizes_of, BatchOptions(max_pixels=5000), seed=0).plan(0)
