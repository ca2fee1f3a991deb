"""The sampler gives one rank's share of every epoch, and goes on where it was."""

import functools
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from anysize.batching import BatchSampler, PlanStream, plan_epoch
from anysize.errors import PlanError

SIZES = np.random.default_rng(3).integers(10, 99, (101, 2))
PLANNER = functools.partial(plan_epoch, SIZES, 16, num_ranks=3, max_pixels=30_000)
PLAN = PLANNER(epoch=0)


def expected(rank, epoch=0):
    return [list(m.indices) for step in PLANNER(epoch=epoch).for_rank(rank) for m in step.micro_batches]


def expected_steps(rank, epoch=0):
    steps = PLANNER(epoch=epoch).for_rank(rank)
    return [[index for m in step.micro_batches for index in m.indices] for step in steps]


@pytest.fixture
def processes(monkeypatch):
    """Pretend that torch.distributed has so many processes, of which this is the one of the given rank."""

    def pretend(rank, number, initialised=True):
        distributed = SimpleNamespace(
            is_available=lambda: True,
            is_initialized=lambda: initialised,
            get_rank=lambda: rank,
            get_world_size=lambda: number,
        )
        monkeypatch.setitem(sys.modules, "torch.distributed", distributed)

    return pretend


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


def test_rank_with_nothing_to_do():
    planner = functools.partial(plan_epoch, [(3, 4)], 2, num_ranks=2, shuffle=False)
    (idle,) = (rank for rank in range(2) if not len(BatchSampler(planner, rank)))
    sampler = BatchSampler(planner, idle)
    assert [(list(sampler), sampler.epoch) for _ in range(2)] == [([], 0), ([], 1)]


def test_whole_steps():
    lengths = set()
    for rank in range(3):
        sampler = BatchSampler(PLANNER, rank, whole_steps=True)
        lengths.add(len(sampler))
        assert [list(sampler) for _ in range(2)] == [expected_steps(rank, epoch) for epoch in range(2)]
    assert lengths == {len(PLAN)}
    assert len({len(expected(rank)) for rank in range(3)}) > 1, "equal numbers of micro-batches prove little"


def test_a_stream():
    planner = functools.partial(PlanStream, SIZES, 16, num_ranks=2, pool=32)
    sampler = BatchSampler(planner, 1, whole_steps=True)
    for epoch in range(2):
        found = list(sampler)
        assert len(found) == len(sampler) == 7
        assert found == [
            [i for m in step.micro_batches for i in m.indices] for step in planner(epoch=epoch).for_rank(1)
        ]
    fresh = BatchSampler(planner(epoch=1), 1, whole_steps=True)
    fresh.load_state_dict({**sampler.state_dict(num_done=5), "epoch": 0})
    assert list(fresh) == found[5:]
    for plan in (planner, planner(epoch=0)):
        assert refusal(lambda plan=plan: len(BatchSampler(plan, 1))) == (
            "how many micro-batches a PlanStream has is known only when all of it is planned\nhint: whole_steps=True"
        )


def test_whole_steps_leave_no_rank_without_an_image():
    plan = plan_epoch([(3, 4), (5, 6), (3, 4), (9, 9)], 3, num_ranks=3, shuffle=False)
    batches = [list(BatchSampler(plan, rank, whole_steps=True)) for rank in range(3)]
    assert [len(each) for each in batches] == [2, 2, 2]
    assert all(batch for each in batches for batch in each)
    (alone,) = ({each[number][0] for each in batches} for number in range(2) if plan[number].num_images == 1)
    assert len(alone) == 1


def test_each_pass_is_of_the_next_epoch():
    sampler = BatchSampler(PLANNER, 1)
    assert [list(sampler) for _ in range(3)] == [expected(1, epoch) for epoch in range(3)]
    assert sampler.epoch == 2
    next(iter(sampler))
    assert sampler.epoch == 3
    assert list(sampler) == expected(1, 3)  # the last one was left halfway


def test_the_epoch_is_chosen():
    sampler = BatchSampler(PLANNER, 1)
    for epoch in (4, 4, 0, 7):
        sampler.set_epoch(epoch)
        assert sampler.epoch == epoch
        assert len(sampler) == len(expected(1, epoch))
        assert list(sampler) == expected(1, epoch)
    assert list(sampler) == expected(1, 8)
    # Lightning makes the iterator first, and asks it for nothing before it has set the epoch.
    iterator = iter(sampler)
    sampler.sampler.set_epoch(5)
    assert list(iterator) == expected(1, 5)


def test_the_epoch_under_way_may_be_named_again():
    sampler = BatchSampler(PLANNER, 1)
    iterator = iter(sampler)
    taken = [next(iterator)]
    sampler.set_epoch(0)
    assert sampler.state_dict()["num_done"] == 1
    assert taken + list(iterator) == expected(1)
    assert list(sampler) == expected(1, 1)


def test_an_iteration_that_was_replaced_counts_no_more():
    sampler = BatchSampler(PLANNER, 1)
    old = iter(sampler)
    next(old)
    sampler.set_epoch(2)
    next(old)
    assert (sampler.epoch, sampler.state_dict()["num_done"]) == (2, 0)
    new = iter(sampler)
    assert next(new) == expected(1, 2)[0]
    next(old)
    assert sampler.state_dict()["num_done"] == 1


@pytest.mark.parametrize("num_done", [0, 1, 5, len(expected(1))])
def test_resume(num_done):
    sampler = BatchSampler(PLAN, 1)
    taken = list(itertools.islice(sampler, num_done))
    state = sampler.state_dict()
    assert state == {
        "epoch": 0,
        "num_done": num_done,
        "unit": "micro-batches of rank 1",
        "plan": PLAN.digest(),
    }
    fresh = BatchSampler(PLAN, 1)
    fresh.load_state_dict(state)
    assert fresh.state_dict() == state
    assert taken + list(fresh) == expected(1)
    assert list(fresh) == expected(1)  # only the first iteration is the rest


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("num_done", [0, 3, len(PLAN)])
def test_resume_in_a_later_epoch(num_done, told):
    sampler = BatchSampler(PLANNER, 0, whole_steps=True)
    sampler.set_epoch(2)
    taken = list(itertools.islice(sampler, num_done))
    fresh = BatchSampler(PLANNER, 2, whole_steps=True)  # the state of one rank serves all
    fresh.load_state_dict(sampler.state_dict())
    assert fresh.epoch == 2
    if told:
        fresh.set_epoch(2)
    assert taken == expected_steps(0, 2)[:num_done]
    if told or num_done < len(PLAN):
        assert list(fresh) == expected_steps(2, 2)[num_done:]
    if told:
        fresh.set_epoch(3)
    assert list(fresh) == expected_steps(2, 3)


def test_another_epoch_than_the_state_s_starts_at_its_first_item():
    sampler = BatchSampler(PLANNER, 1)
    sampler.load_state_dict({**sampler.state_dict(), "num_done": 4})
    sampler.set_epoch(1)
    assert list(sampler) == expected(1, 1)


def test_resume_takes_no_longer_from_far_within():
    asked = []

    def planner(epoch):
        asked.append(epoch)
        return PLANNER(epoch=epoch)

    state = BatchSampler(PLANNER, 1).state_dict() | {"epoch": 9, "num_done": 6, "plan": PLANNER(epoch=9).digest()}
    sampler = BatchSampler(planner, 1)
    sampler.set_epoch(3)
    sampler.load_state_dict(state)
    assert next(iter(sampler)) == expected(1, 9)[6]
    assert asked == [9]  # no epoch before it, and this one once


def test_resume_behind_a_loader_that_reads_ahead():
    sampler = BatchSampler(PLAN, 0)
    read = list(itertools.islice(sampler, 6))
    assert len(read) == 6
    fresh = BatchSampler(PLAN, 0)
    fresh.load_state_dict(sampler.state_dict(num_done=4))
    assert list(fresh) == expected(0)[4:]
    assert list(BatchSampler(PLAN[2:], 0))[-1] == expected(0)[-1]


def refusal(action):
    with pytest.raises(PlanError) as caught:
        action()
    return str(caught.value)


def test_states_that_do_not_fit():
    sampler = BatchSampler(PLANNER, 0)
    total = len(sampler)
    good = sampler.state_dict()
    other = plan_epoch(SIZES, 16, num_ranks=3, max_pixels=30_000, seed=1).digest()
    wrong = {
        "the state of the sampler lacks plan, unit\nhint: pass what state_dict() returned": {"epoch": 0, "num_done": 0},
        f"the state is of another plan of epoch 0: its digest is {other[:12]}, this sampler's {PLAN.digest()[:12]}\n"
        "hint: make the plan from the same sizes, limits, seed, epoch and number of ranks": {**good, "plan": other},
        "the state counts micro-batches of rank 1, this sampler micro-batches of rank 0\n"
        "hint: save and load the state on each rank, or use whole_steps=True, whose state is that of all ranks": (
            BatchSampler(PLANNER, 1).state_dict()
        ),
        f"the state says that -1 of {total} micro-batches of rank 0 are done": {**good, "num_done": -1},
        f"the state says that {total + 1} of {total} micro-batches of rank 0 are done": {
            **good,
            "num_done": total + 1,
        },
    }
    for message, state in wrong.items():
        assert refusal(functools.partial(sampler.load_state_dict, state)) == message
        assert sampler.state_dict() == good


def test_wrong_plans_and_ranks():
    assert refusal(lambda: BatchSampler(PLAN, 3)) == "rank is 3; this plan is for ranks 0 to 2"
    assert refusal(lambda: len(BatchSampler(lambda epoch: [epoch], 0))) == (
        "the planner returned a list; a Plan is required\n"
        "hint: functools.partial(anysize.plan_epoch, sizes, batch_size) is a planner"
    )


@pytest.mark.parametrize("rank", range(3))
def test_the_rank_is_that_of_the_process(processes, rank):
    processes(rank, 3)
    assert list(BatchSampler(PLAN, whole_steps=True)) == expected_steps(rank)
    assert list(BatchSampler(PLAN, 1)) == expected(1)  # said otherwise


def test_processes_that_do_not_fit_the_plan(processes):
    processes(0, 1, initialised=False)
    assert refusal(lambda: BatchSampler(PLAN)) == (
        "the plan is for 3 ranks, and this is the only process that torch.distributed knows\n"
        "hint: make the sampler behind init_process_group, or pass rank=, 0 to 2"
    )
    assert len(BatchSampler(plan_epoch(SIZES, 16))) == 7
    processes(1, 2)
    assert refusal(lambda: BatchSampler(plan_epoch(SIZES, 16), whole_steps=True)) == (
        "the plan is for 1 rank, and torch.distributed has 2 processes\nhint: plan_epoch(..., num_ranks=2)"
    )
    assert refusal(lambda: len(BatchSampler(PLANNER))) == (
        "the plan is for 3 ranks, and torch.distributed has 2 processes\nhint: plan_epoch(..., num_ranks=2)"
    )
    assert refusal(lambda: BatchSampler(plan_epoch(SIZES, 16, num_ranks=2))) == (
        "2 processes would take one micro-batch after another, of which they may have different numbers: those with "
        "fewer would leave the others waiting for ever\n"
        "hint: whole_steps=True; or pass rank= if the processes never wait for each other"
    )


def test_in_a_data_loader_of_torch():
    data = pytest.importorskip("torch.utils.data")
    loader = data.DataLoader(range(len(SIZES)), batch_sampler=BatchSampler(PLAN, 2), collate_fn=list)
    assert len(loader) == len(expected(2))
    assert list(loader) == expected(2)


@pytest.mark.parametrize("persistent", [True, False])
def test_workers_that_read_ahead_take_no_epoch_for_another(persistent):
    data = pytest.importorskip("torch.utils.data")
    sampler = BatchSampler(PLANNER, 2)
    loader = data.DataLoader(
        range(len(SIZES)), batch_sampler=sampler, collate_fn=list, num_workers=1, persistent_workers=persistent
    )
    assert [list(loader) for _ in range(2)] == [expected(2, epoch) for epoch in range(2)]
    for number, batch in enumerate(loader):
        assert batch == expected(2, 2)[number]
        if number == 3:
            break
    state = sampler.state_dict(num_done=4)
    assert state["epoch"] == 2
    sampler.load_state_dict(state)
    assert list(loader) == expected(2, 2)[4:]
    sampler.set_epoch(9)
    assert list(loader) == expected(2, 9)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_iterator_made_before_the_epoch_is_named(num_workers):
    """Lightning makes the first one early, and with workers it reads at once: a complete epoch must not be resumed."""
    data = pytest.importorskip("torch.utils.data")
    sampler = BatchSampler(PLANNER, 1)
    loader = data.DataLoader(range(len(SIZES)), batch_sampler=sampler, collate_fn=list, num_workers=num_workers)
    for num_done, epoch in ((len(sampler), 1), (2, 0)):
        sampler.load_state_dict(BatchSampler(PLANNER, 1).state_dict(num_done))
        iterator = iter(loader)
        sampler.set_epoch(epoch)
        assert list(iterator) == expected(1, epoch)[num_done if epoch == 0 else 0 :]


@pytest.mark.filterwarnings("ignore")  # torchdata asks torch for what it has deprecated
@pytest.mark.parametrize("num_workers", [0, 1])
def test_in_a_stateful_data_loader_of_torchdata(num_workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="NOT TESTED: torchdata is not installed")

    def loader():
        return stateful.StatefulDataLoader(
            range(len(SIZES)), batch_sampler=BatchSampler(PLANNER, 1), collate_fn=list, num_workers=num_workers
        )

    first = loader()
    assert list(first) == expected(1)
    taken = list(itertools.islice(first, 3))
    second = loader()
    second.load_state_dict(first.state_dict())
    assert taken + list(second) == expected(1, 1)
    assert list(second) == expected(1, 2)


def test_ranks_epochs_and_counts_are_whole_numbers():
    plan = plan_epoch([(4, 4)] * 23, 4, num_ranks=3)
    for rank in (1.5, True, "0", None):
        with pytest.raises(PlanError):
            plan.for_rank(rank)
    for rank in (1.5, True, "0", 3):
        with pytest.raises(PlanError, match="rank is"):
            BatchSampler(plan, rank)
    sampler = BatchSampler(plan, 0)
    with pytest.raises(PlanError, match=r"epoch is 1\.5; an integer is needed"):
        sampler.set_epoch(1.5)
    with pytest.raises(PlanError, match="the state says that 1000 of 6 micro-batches of rank 0 are done"):
        sampler.state_dict(1000)
    with pytest.raises(PlanError, match="num_done is None; an integer is needed"):
        sampler.load_state_dict({**sampler.state_dict(), "num_done": None})
