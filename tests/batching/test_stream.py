"""A stream is a plan that nobody has to hold: every image once, any step at once, pools as deep as asked."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anysize.batching import Plan, PlanStream, choose_canvases, padding_share, plan_epoch
from anysize.batching.noise import Shuffle
from anysize.errors import PlanError
from plan_checks import check, random_sizes


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=70),
    batch_size=st.integers(1, 20),
    pool=st.none() | st.integers(1, 80),
    num_ranks=st.integers(1, 4),
    mixing=st.sampled_from(["similar", "mixed"]),
    static=st.booleans(),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 100),
)
def test_invariants(sizes, batch_size, pool, static, num_ranks, **options):
    chosen = choose_canvases(sizes, 3, multiple_of=8) if static else None
    limits = {"max_pixels": 64 * 64, "num_ranks": num_ranks, "canvases": chosen}
    stream = PlanStream(np.array(sizes, np.uint16), batch_size, pool=pool, **limits, **options)
    plans = list(stream.plans())
    plan = Plan.joined(plans)
    check(plan, sizes, batch_size, multiple_of=8 if static else 1, **limits)
    assert len(stream) == len(plan)
    assert len(plans) == stream.num_pools
    assert tuple(stream) == plan.steps
    if pool is not None:
        assert plan == plan_epoch(sizes, batch_size, pool=pool, **limits, **options)
    for first in range(len(stream)):
        rest = [step for part in stream.plans(first_step=first) for step in part]
        assert rest == list(plan[first:])
        assert stream[first] == plan[first]
    assert list(stream.plans(first_step=len(stream))) == []
    for rank in range(num_ranks):
        assert tuple(stream.for_rank(rank)) == plan.for_rank(rank).steps


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 16, 17, 99, 100, 101, 4097, 70_000])
def test_a_shuffle_without_a_table_is_a_permutation(count):
    shuffle = Shuffle(count, count)
    numbers = shuffle.numbers(0, count)
    assert np.bincount(numbers, minlength=count).tolist() == [1] * count
    middle = count // 3
    assert np.array_equal(shuffle.numbers(middle, count), numbers[middle:])


def test_a_shuffle_is_spread_evenly():
    numbers = Shuffle(1, 10**12).numbers(10**11, 10**11 + 100_000)
    counts = np.bincount(numbers // 10**10, minlength=100)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert 50 < chi_square < 160  # 99 degrees of freedom
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers, np.arange(100_000))[0, 1]) < 0.02


def test_the_pool_says_how_much_is_shuffled():
    sizes = random_sizes(4096)
    areas = sizes.prod(axis=1).argsort().argsort() / 4096

    def spread(plan) -> float:
        """Mean distance in rank of area between images of a step; 1/3 for uniform draws."""
        steps = [areas[[i for m in step.micro_batches for i in m.indices]] for step in plan]
        return float(
            np.mean([np.abs(step[:, None] - step[None]).sum() / (len(step) * (len(step) - 1)) for step in steps])
        )

    pools = (32, 128, 512, 4096)
    plans = [plan_epoch(sizes, 32, pool=pool) for pool in pools]
    spreads = [spread(plan) for plan in plans]
    assert spreads[0] == pytest.approx(1 / 3, abs=0.02)
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 0.1
    paddings = [padding_share(plan, sizes) for plan in plans]
    assert paddings == sorted(paddings, reverse=True)


def test_steps_of_a_stream_depend_on_seed_and_epoch():
    sizes = random_sizes(300)
    one, same, seed, epoch = (
        PlanStream(sizes, 16, pool=100, **numbers) for numbers in ({}, {}, {"seed": 1}, {"epoch": 1})
    )
    assert tuple(one) == tuple(same)
    assert one.digest() == same.digest() == PlanStream(sizes.astype(np.uint16), 16, pool=100).digest()
    for other in (seed, epoch):
        assert tuple(one) != tuple(other)
        assert one.digest() != other.digest()
    digest = one.digest()
    sizes[7, 0] += 1
    assert PlanStream(sizes, 16, pool=100).digest() != digest


def test_only_the_pools_that_are_asked_for_are_planned(monkeypatch):
    stream = PlanStream(random_sizes(1000), 10, pool=100)
    asked: list[int] = []
    numbers = Shuffle.numbers
    monkeypatch.setattr(Shuffle, "numbers", lambda self, a, b: asked.append(a) or numbers(self, a, b))
    stream[57]
    stream[58]
    next(stream.plans(first_step=93))
    assert asked == [500, 900]


def test_errors_come_at_once_and_name_the_image():
    sizes = np.full((5_000_000, 2), 10, np.uint16)
    sizes[4_500_000] = (0, 3)
    with pytest.raises(PlanError, match="1 image of 5000000 cannot be: image 4500000 is 0x3"):
        PlanStream(sizes, 32)
    sizes[4_500_000] = (100, 300)
    with pytest.raises(PlanError, match=r"1 image of 5000000 needs more than max_pixels=1000; .* image 4500000"):
        PlanStream(sizes, 32, max_pixels=1000)
    stream = PlanStream(sizes[:100], 32)
    with pytest.raises(PlanError, match="no slices"):
        stream[3:]
    with pytest.raises(IndexError, match="step 4 of 4"):
        stream[4]
    with pytest.raises(PlanError, match="first_step is 5"):
        next(stream.plans(first_step=5))
    with pytest.raises(PlanError, match="rank is 1; this plan is for ranks 0 to 0"):
        stream.for_rank(1)
    with pytest.raises(PlanError, match="pool is 0"):
        PlanStream(sizes[:100], 32, pool=0)


GOLDEN = "8aeef0ff27b9644557228ecfc8d07703adb3eec23cf7846ceb7f13ea36475170"

HASH_STREAMS = """
import hashlib, json
import numpy as np
from anysize.batching import PlanStream, choose_canvases
sizes = np.array([(1 + i * 7919 % 401, 1 + i * 104729 % 389) for i in range(3000)])
chosen = choose_canvases(sizes, 12)
streams = [
    PlanStream(sizes, 32, canvases=chosen, seed=5, epoch=7, pool=1000, num_ranks=3, max_pixels=900_000),
    PlanStream(sizes, 16, canvases=chosen, seed=-1, epoch=2, mixing="mixed", num_ranks=2),
    PlanStream(sizes, 24, pool=700),
]
content = [chosen.canvases, chosen.own_above]
content += [[(m.indices, m.canvas, m.rank) for m in step.micro_batches] for stream in streams for step in stream]
digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
"""


def test_golden_streams_here_and_in_a_fresh_process():
    namespace: dict[str, str] = {}
    exec(HASH_STREAMS, namespace)  # noqa: S102 - the same text runs in both processes
    assert namespace["digest"] == GOLDEN
    command = [sys.executable, "-c", HASH_STREAMS + "print(digest)"]
    fresh = subprocess.run(command, capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == GOLDEN
