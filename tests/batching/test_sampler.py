"""The sampler gives one rank's micro-batches, and goes on where it was."""

import itertools

import numpy as np
import pytest

from anysize.batching import BatchSampler, plan_epoch
from anysize.errors import PlanError

SIZES = np.random.default_rng(3).integers(10, 99, (101, 2))
PLAN = plan_epoch(SIZES, 16, num_ranks=3, max_pixels=30_000)


def expected(rank):
    return [list(m.indices) for step in PLAN.for_rank(rank) for m in step.micro_batches]


@pytest.mark.parametrize("rank", range(3))
def test_one_rank(rank):
    sampler = BatchSampler(PLAN, rank)
    assert len(sampler) == len(expected(rank)) > 7
    assert list(sampler) == expected(rank)
    assert list(sampler) == expected(rank)  # again from the first


def test_rank_without_images_in_some_steps():
    plan = plan_epoch([(3, 4)] * 4, 3, num_ranks=3, shuffle=False)
    batches = [list(BatchSampler(plan, rank)) for rank in range(3)]
    assert sorted(len(each) for each in batches) == [1, 1, 2]
    assert sorted(i for each in batches for batch in each for i in batch) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_done", [0, 1, 5, len(expected(1))])
def test_resume(num_done):
    sampler = BatchSampler(PLAN, 1)
    taken = list(itertools.islice(sampler, num_done))
    state = sampler.state_dict()
    assert state == {"num_done": num_done, "num_micro_batches": len(sampler)}
    fresh = BatchSampler(PLAN, 1)
    fresh.load_state_dict(state)
    assert fresh.state_dict() == state
    assert taken + list(fresh) == expected(1)
    assert list(fresh) == expected(1)  # only the first iteration is the rest


def test_resume_behind_a_loader_that_reads_ahead():
    sampler = BatchSampler(PLAN)
    read = list(itertools.islice(sampler, 6))
    assert len(read) == 6
    fresh = BatchSampler(PLAN)
    fresh.load_state_dict(sampler.state_dict(num_done=4))
    assert list(fresh) == expected(0)[4:]
    assert list(BatchSampler(PLAN[2:]))[-1] == expected(0)[-1]


def test_states_that_do_not_fit():
    sampler = BatchSampler(PLAN)
    total = len(sampler)
    with pytest.raises(PlanError) as caught:
        sampler.load_state_dict({"num_done": 0, "num_micro_batches": 3})
    assert str(caught.value) == (
        f"the state is of 3 micro-batches, and this rank's plan has {total}\n"
        "hint: make the plan from the same sizes, limits, seed, epoch and number of ranks"
    )
    for num_done in (-1, total + 1):
        with pytest.raises(PlanError) as caught:
            sampler.load_state_dict({"num_done": num_done, "num_micro_batches": total})
        assert str(caught.value) == f"the state says that {num_done} of {total} micro-batches are done"
    with pytest.raises(PlanError, match=r"^rank is 3; this plan is for ranks 0 to 2$"):
        BatchSampler(PLAN, 3)


def test_in_a_data_loader_of_torch():
    data = pytest.importorskip("torch.utils.data")
    loader = data.DataLoader(range(len(SIZES)), batch_sampler=BatchSampler(PLAN, 2), collate_fn=list)
    assert len(loader) == len(expected(2))
    assert list(loader) == expected(2)
