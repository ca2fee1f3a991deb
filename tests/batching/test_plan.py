"""Invariants of plans, over many seeds and awkward sizes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anysize.batching import MicroBatch, Step, plan_epoch
from plan_checks import AWKWARD, check, random_sizes


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("mixing", ["similar", "mixed"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_awkward_sizes(name, mixing, shuffle):
    sizes = np.array(AWKWARD[name])
    largest = int(sizes.prod(axis=1).max())
    for batch_size in (1, 7, 32, 1000):
        for num_ranks in (1, 3, 8):
            for max_pixels in (None, largest, 3 * largest + 1):
                limits = {"max_pixels": max_pixels, "num_ranks": num_ranks}
                plan = plan_epoch(sizes, batch_size, mixing=mixing, shuffle=shuffle, launch_pixels=0, **limits)
                check(plan, sizes, batch_size, **limits)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=70),
    batch_size=st.integers(1, 40),
    num_ranks=st.integers(1, 6),
    mixing=st.sampled_from(["similar", "mixed"]),
    shuffle=st.booleans(),
    multiple_of=st.sampled_from([1, 2, 8, 32]),
    room=st.none() | st.integers(0, 20_000),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 100),
    jitter=st.floats(0, 0.99),
    launch_pixels=st.integers(0, 5_000),
)
def test_invariants(sizes, batch_size, num_ranks, multiple_of, room, **options):
    rounded = -(-np.array(sizes) // multiple_of) * multiple_of
    max_pixels = None if room is None else int(rounded.prod(axis=1).max()) + room
    limits = {"max_pixels": max_pixels, "multiple_of": multiple_of, "num_ranks": num_ranks}
    plan = plan_epoch(sizes, batch_size, **limits, **options)
    check(plan, sizes, batch_size, **limits)
    assert plan == plan_epoch(np.array(sizes, dtype=np.uint16), batch_size, **limits, **options)


def test_extreme_sizes_do_not_overflow():
    sizes = [(2**20, 1), (1, 2**20), (2**20, 2**20)] * 700
    for mixing in ("similar", "mixed"):
        plan = plan_epoch(sizes, 2100, mixing=mixing, max_pixels=2**53, num_ranks=3)
        check(plan, np.array(sizes, dtype=object), 2100, max_pixels=2**53, num_ranks=3)


def test_all_steps_before_the_short_one_are_full_when_mixed():
    assert [step.num_images for step in plan_epoch(random_sizes(70), 32, mixing="mixed")] == [32, 32, 6]
    assert [step.num_images for step in plan_epoch(random_sizes(64), 32)] == [32, 32]
    assert [step.num_images for step in plan_epoch(random_sizes(5), 32)] == [5]


def test_short_step_of_similar_has_another_size_each_epoch():
    sizes = np.array([(side, side) for side in range(10, 75)])
    means = set()
    for epoch in range(20):
        plan = plan_epoch(sizes, 32, epoch=epoch)
        short = min(plan, key=lambda step: step.num_images)
        assert short.num_images == 1
        means.add(short.micro_batches[0].canvas)
    assert len(means) > 2


def test_limit_is_exact():
    sizes = [(10, 10)] * 8
    assert [len(step.micro_batches) for step in plan_epoch(sizes, 8, max_pixels=800)] == [1]
    [step] = plan_epoch(sizes, 8, max_pixels=799)
    assert [len(m.indices) for m in step.micro_batches] == [4, 4]


def test_over_the_limit_is_split_evenly_into_the_fewest():
    [step] = plan_epoch([(10, 10)] * 32, 32, max_pixels=1_000)
    assert sorted(len(m.indices) for m in step.micro_batches) == [8, 8, 8, 8]
    [step] = plan_epoch([(10, 10)] * 31, 32, max_pixels=1_050)
    assert len(step.micro_batches) == 4


def test_launch_pixels_decide_whether_mixed_splits():
    sizes = [(10, 10)] * 5 + [(20, 20)] * 3  # one canvas 3200, two 500 + 1200: 1500 saved
    [step] = plan_epoch(sizes, 8, mixing="mixed", launch_pixels=1500)
    assert [m.canvas for m in step.micro_batches] == [(20, 20)]
    [step] = plan_epoch(sizes, 8, mixing="mixed", launch_pixels=1499)
    assert [(m.canvas, m.indices) for m in step.micro_batches] == [
        ((20, 20), (5, 6, 7)),
        ((10, 10), (0, 1, 2, 3, 4)),
    ]


def test_similar_keeps_a_step_on_one_canvas_unless_a_launch_has_a_price():
    sizes = [(10, 10)] * 5 + [(20, 20)] * 3
    [step] = plan_epoch(sizes, 8)
    assert [m.canvas for m in step.micro_batches] == [(20, 20)]
    [step] = plan_epoch(sizes, 8, launch_pixels=1499)
    assert [m.canvas for m in step.micro_batches] == [(20, 20), (10, 10)]


def test_evaluation_has_the_largest_forward_first_and_no_noise():
    sizes = random_sizes(500)
    for mixing in ("similar", "mixed"):
        plan = plan_epoch(sizes, 32, mixing=mixing, shuffle=False, max_pixels=600_000)
        largest = [max(m.canvas_pixels for m in step.micro_batches) for step in plan]
        assert largest == sorted(largest, reverse=True)
        for step in plan:
            pixels = [m.canvas_pixels for m in step.micro_batches]
            assert pixels == sorted(pixels, reverse=True)
        other = plan_epoch(sizes, 32, mixing=mixing, shuffle=False, max_pixels=600_000, seed=9, epoch=9)
        assert plan == other


@pytest.mark.parametrize("mixing", ["similar", "mixed"])
@pytest.mark.parametrize("jitter", [0.0, 0.02])
@pytest.mark.parametrize("sizes", [random_sizes(300), [(30, 40)] * 300], ids=["lognormal", "equal"])
def test_epochs_and_seeds_differ(mixing, jitter, sizes):
    def groups(**numbers):
        plan = plan_epoch(sizes, 32, mixing=mixing, jitter=jitter, **numbers)
        return {frozenset(i for m in step.micro_batches for i in m.indices) for step in plan}

    drawn = [groups(), groups(epoch=1), groups(seed=1), groups(seed=1, epoch=1)]
    for number, one in enumerate(drawn):
        for other in drawn[:number]:
            assert len(one & other) <= len(one) // 2
    assert groups(seed=3, epoch=4) == groups(seed=3, epoch=4)


@pytest.mark.parametrize("side", [0, 1])
def test_jitter_widens_the_neighbourhood_along_both_sides(side):
    sizes = np.full((320, 2), 7)
    sizes[:, side] = np.arange(100, 420)

    def spans(jitter):
        groups = (step.micro_batches[0].indices for step in plan_epoch(sizes, 32, jitter=jitter))
        return [max(group) - min(group) for group in groups]

    assert spans(0) == [31] * 10
    assert min(spans(0.1)) > 33
    assert sum(spans(0.1)) > 450


def test_order_of_steps_is_shuffled():
    sizes = [(side, side) for side in range(10, 330)]
    heights = [step.micro_batches[0].canvas[0] for step in plan_epoch(sizes, 10)]
    assert heights != sorted(heights)
    assert heights != [s.micro_batches[0].canvas[0] for s in plan_epoch(sizes, 10, epoch=1)]


def test_mixed_steps_are_uniform_draws():
    """How often two images share a step must not depend on their sizes: chi-square over all pairs."""
    sizes = [(4 * (i + 1), 4 * (i + 1)) for i in range(12)]
    counts = np.zeros((12, 12))
    num_epochs = 1000
    for epoch in range(num_epochs):
        for step in plan_epoch(sizes, 4, mixing="mixed", epoch=epoch, launch_pixels=0, num_ranks=2):
            indices = [i for m in step.micro_batches for i in m.indices]
            counts[np.ix_(indices, indices)] += 1
    pairs = counts[np.triu_indices(12, 1)]
    expected = num_epochs * 3 / 11
    # Each count is nearly binomial with probability 3/11; 66 pairs, 12 fixed sums: 54 degrees of freedom.
    chi_square = ((pairs - expected) ** 2 / (expected * 8 / 11)).sum()
    assert 25 < chi_square < 100


def test_ranks_take_about_equally_long_and_turn():
    sizes = random_sizes(3200)
    for mixing, limit in (("similar", 1.1), ("mixed", 1.15)):
        plan = plan_epoch(sizes, 64, mixing=mixing, num_ranks=4, launch_pixels=2_000)
        pixels = np.zeros((len(plan), 4))
        for number, step in enumerate(plan):
            for micro_batch in step.micro_batches:
                pixels[number, micro_batch.rank] += micro_batch.canvas_pixels
        assert pixels.max(axis=1).sum() / pixels.mean(axis=1).sum() < limit
        images = [plan.for_rank(rank).num_images for rank in range(4)]
        assert max(images) < 1.3 * min(images)  # no rank has always the many small ones


def test_similar_pads_less_than_the_usual_orders():
    sizes = np.random.default_rng(0).permutation([(375, 500), (500, 375), (333, 500), (500, 333)] * 400)
    sizes = np.maximum(1, sizes - np.random.default_rng(1).integers(0, 20, sizes.shape))
    plan = plan_epoch(sizes, 32)
    canvas = (plan.canvases().prod(axis=1) * plan.lengths()).sum()
    assert 1 - sizes.prod(axis=1).sum() / canvas < 0.05


GOLDEN = "38915dfafd7fee8d1e57528c789d9253f3ff37c762d082e447079a39e37d963f"

HASH_PLANS = """
import hashlib, json
from anysize.batching import plan_epoch
sizes = [(1 + i * 7919 % 401, 1 + i * 104729 % 389) for i in range(500)]
plans = [
    plan_epoch(sizes, 32, seed=5, epoch=7, max_pixels=900_000, num_ranks=3),
    plan_epoch(sizes, 16, seed=-1, epoch=2, mixing="mixed", num_ranks=2, multiple_of=8),
    plan_epoch(sizes, 24, shuffle=False),
]
content = [[(m.indices, m.canvas, m.rank) for m in step.micro_batches] for plan in plans for step in plan]
digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
"""


def test_golden_plan_here_and_in_a_fresh_process():
    namespace: dict[str, str] = {}
    exec(HASH_PLANS, namespace)  # noqa: S102 - the same text runs in both processes
    assert namespace["digest"] == GOLDEN
    command = [sys.executable, "-c", HASH_PLANS + "print(digest)"]
    fresh = subprocess.run(command, capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == GOLDEN


def test_slices_and_indices():
    sizes = random_sizes(100)
    plan = plan_epoch(sizes, 8, num_ranks=3)
    steps = plan.steps
    assert len(steps) == len(plan) == 13
    assert isinstance(plan[0], Step)
    assert isinstance(plan[0].micro_batches[0], MicroBatch)
    assert plan[-1] == steps[-1]
    for part in (slice(5, None), slice(None, 4), slice(2, 11, 3), slice(None, None, -1), slice(13, None)):
        assert plan[part].steps == steps[part]
        assert plan[part].num_images == sum(step.num_images for step in steps[part])
        assert plan[part].for_rank(2).steps == tuple(step.for_rank(2) for step in steps[part])
        flat = [i for step in steps[part] for m in step.micro_batches for i in m.indices]
        assert plan[part].indices().tolist() == flat
    flat_batches = [m for step in steps for m in step.micro_batches]
    assert [plan.micro_batch(number) for number in range(len(flat_batches))] == flat_batches
    assert plan[7:].micro_batch(0) == steps[7].micro_batches[0]
    assert list(plan) == list(steps)
    assert plan != plan[1:]
    assert plan != plan_epoch(sizes, 8, num_ranks=3, epoch=1)
    assert plan != "a plan"
    assert plan_epoch([(3, 4)], 1, shuffle=False) != plan_epoch([(3, 4)], 1, shuffle=False, num_ranks=2)
    with pytest.raises(IndexError):
        plan[13]
    with pytest.raises(TypeError):
        hash(plan)


def test_repr():
    plan = plan_epoch([(3, 4)] * 5, 2, num_ranks=2)
    assert repr(plan) == "<Plan: 3 steps, 5 images, 1 canvases, 2 ranks>"
