"""Epochs of a run: canvases chosen once, sizes anew."""

import numpy as np
import pytest

from anysize.batching import Plan, PlanStream, plan_epoch
from anysize.errors import PlanError
from anysize.loading import EpochPlanner
from anysize.loading import epochs as epochs_module
from anysize.options import BatchOptions
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


def test_very_many_images_are_streamed(monkeypatch):
    assert isinstance(EpochPlanner(sizes_of, BatchOptions(), seed=0).plan(0), Plan)
    monkeypatch.setattr(epochs_module, "default_pool", lambda _: 199)
    stream = EpochPlanner(sizes_of, BatchOptions(), seed=0).plan(0)
    assert isinstance(stream, PlanStream)
    check(Plan.joined(list(stream.plans())), sizes_of(0), 32, multiple_of=8)


def test_an_image_above_the_limit_is_an_error():
    with pytest.raises(PlanError, match="more than max_pixels=5000"):
        EpochPlanner(sizes_of, BatchOptions(max_pixels=5000), seed=0).plan(0)
