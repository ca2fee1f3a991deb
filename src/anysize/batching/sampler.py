"""Feeds one rank's share of a plan to a data loader, epoch after epoch."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from anysize.batching.limits import check_integer
from anysize.batching.plan import Plan
from anysize.batching.stream import PlanStream
from anysize.errors import PlanError

__all__ = ["BatchSampler"]


class BatchSampler:
    """One rank's micro-batches, or whole steps, in the order of the plan, each a list of image numbers.

    For ``torch.utils.data.DataLoader(dataset, batch_sampler=BatchSampler(plan))``, and for what is built on it.

    A planner makes one sampler serve all epochs. ``set_epoch(epoch)`` chooses the epoch of the next iteration, as with
    torch's ``DistributedSampler``. If nobody calls it, each iteration behind a complete one is of the next epoch;
    behind one that was left halfway, it is of the same epoch, from its first item. A plan is the same in every epoch.

    Args:
        plan: of one epoch, or the rest of one (``plan[k:]``), or a `PlanStream` with whole steps; or a planner, called
            as ``plan(epoch=epoch)``, such as ``functools.partial(anysize.plan_epoch, sizes, 32)``. It must depend on
            the epoch alone, and be the same on all ranks.
        rank: whose share. By default that of this process in ``torch.distributed`` where it is initialised, which must
            have as many processes as the plan has ranks; else 0, and the plan must be for one rank.
        whole_steps: an item is all that the rank does in a step, micro-batch after micro-batch, for a collate function
            that spreads it over canvases (``functools.partial(anysize.collate, grouped=True)``). All ranks then have
            the same number of items, in all epochs. A rank to which a step of fewer images than ranks has none to
            give repeats the last image of that step, for a rank that stays away would leave the others waiting.

    Raises:
        PlanError: the plan is not for such a rank, or for another number of processes; or ranks of
            ``torch.distributed`` are to take micro-batches, of which they have different numbers. From a planner's
            plan when it is first needed.
    """

    def __init__(
        self,
        plan: Plan | PlanStream | Callable[..., Plan | PlanStream],
        rank: int | None = None,
        *,
        whole_steps: bool = False,
    ) -> None:
        self._plan = plan
        self._whole_steps = whole_steps
        self._num_processes: int | None = None  # which must share the plan; any number where the caller names the rank
        if rank is None:
            rank, self._num_processes = _place_in_torch()
        self._rank = check_integer("rank", rank)
        self._run: object = None  # the iteration that moves the position: the latest
        self._epoch = 0
        self._position = 0  # items handed out; before an iteration, where it will start
        self._fresh = True  # no iteration has begun from here
        self._told = False  # `set_epoch` has named this epoch, so that no other follows by itself
        self._shares: dict[int | None, _Share] = {}
        self._planner = None if isinstance(plan, Plan | PlanStream) else plan
        if self._planner is not None and not callable(self._planner):
            raise PlanError(
                f"a {type(plan).__name__} was given; a Plan, a PlanStream or a planner is needed",
                hint="functools.partial(anysize.plan_epoch, sizes, batch_size) is a planner",
            )
        if self._planner is None:
            self._share()

    @property
    def epoch(self) -> int:
        """The epoch under way or, before the first iteration, behind `set_epoch` and `load_state_dict`, the next."""
        return self._epoch

    @property
    def sampler(self) -> "BatchSampler":
        """Itself: Lightning calls ``set_epoch`` on ``loader.batch_sampler.sampler``."""
        return self

    def __len__(self) -> int:
        """All items of this rank in `epoch`, also when iteration will start behind the first."""
        return self._share().num_items

    def __iter__(self) -> Iterator[list[int]]:
        """From the first item, or once from where `load_state_dict` says."""
        # Runs when the first item is asked for: `set_epoch` between ``iter(loader)`` and that still counts.
        advance = self._position == len(self) and not self._told
        if self._fresh and (self._planner is None or not self._position):
            advance = False  # of a complete pass over one plan nothing is left; a rank may also have nothing to do
        if advance:
            self._epoch += 1
        if advance or not self._fresh:
            self._position = 0
        self._fresh = self._told = False
        run = self._run = object()
        share = self._share()
        for number in range(self._position, share.num_items):
            # Before the yield: what was handed out counts as done, whether or not iteration goes on.
            if self._run is run:
                self._position = number + 1
            yield share.item(number)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; it starts with the first item.

        The epoch that is under way, or that `load_state_dict` has chosen, stays as it is: of a state behind its last
        item, the next iteration is then empty.
        """
        epoch = check_integer("epoch", epoch)
        if epoch != self._epoch:
            self._epoch, self._position, self._fresh, self._run = epoch, 0, True, None
        # Of an epoch that is under way it means nothing.
        self._told = self._fresh or self._position == len(self)

    def state_dict(self, num_done: int | None = None) -> dict[str, int | str]:
        """Where to resume: plain numbers and strings.

        Args:
            num_done: items of `epoch` that training has finished. Without it, those handed out so far count,
                which is too many behind a loader whose workers read ahead.

        Raises:
            PlanError: ``num_done`` is not between 0 and the number of items.
        """
        if num_done is not None:
            self._check_done(check_integer("num_done", num_done), self._share())
        return {
            "epoch": self._epoch,
            "num_done": self._position if num_done is None else num_done,
            "unit": self._unit(),
            "plan": self._share().digest(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start the next iteration where ``state`` says, at once, however far that is.

        Behind the last item of an epoch that is the next epoch, unless ``set_epoch`` names this one, or there is only
        a plan. With whole steps, the state of any rank serves all.

        Raises:
            PlanError: the state is of another plan, of another rank's micro-batches, or lies outside of the plan.
                The sampler is as it was.
        """
        missing = sorted({"epoch", "num_done", "unit", "plan"} - set(state))
        if missing:
            raise PlanError(
                f"the state of the sampler lacks {', '.join(missing)}", hint="pass what state_dict() returned"
            )
        epoch, num_done = check_integer("epoch", state["epoch"]), check_integer("num_done", state["num_done"])
        if state["unit"] != self._unit():
            raise PlanError(
                f"the state counts {state['unit']}, this sampler {self._unit()}",
                hint="save and load the state on each rank, or use whole_steps=True, whose state is that of all ranks",
            )
        share = self._share(epoch)
        if state["plan"] != share.digest():
            raise PlanError(
                f"the state is of another plan of epoch {epoch}: its digest is {str(state['plan'])[:12]}, this "
                f"sampler's {share.digest()[:12]}",
                hint="make the plan from the same sizes, limits, seed, epoch and number of ranks",
            )
        self._check_done(num_done, share)
        self._epoch, self._position, self._fresh, self._told, self._run = epoch, num_done, True, False, None

    def _check_done(self, num_done: int, share: "_Share") -> None:
        if not 0 <= num_done <= share.num_items:
            raise PlanError(f"the state says that {num_done} of {share.num_items} {self._unit()} are done")

    def _unit(self) -> str:
        return "steps" if self._whole_steps else f"micro-batches of rank {self._rank}"

    def _share(self, epoch: int | None = None) -> "_Share":
        """What this rank does in an epoch, by default the one under way; kept until another epoch is asked for."""
        key = None if self._planner is None else self._epoch if epoch is None else epoch
        if key not in self._shares:
            plan: Any = self._plan if self._planner is None else self._planner(epoch=key)
            self._check(plan)
            self._shares = {key: _Share(plan, self._rank, self._whole_steps)}
        return self._shares[key]

    def _check(self, plan: Any) -> None:
        if not isinstance(plan, Plan | PlanStream):
            raise PlanError(
                f"the planner returned a {type(plan).__name__}; a Plan is required",
                hint="functools.partial(anysize.plan_epoch, sizes, batch_size) is a planner",
            )
        if isinstance(plan, PlanStream) and not self._whole_steps:
            raise PlanError(
                "how many micro-batches a PlanStream has is known only when all of it is planned",
                hint="whole_steps=True",
            )
        if self._num_processes is None:
            return
        if self._num_processes == 1 < plan.num_ranks:
            raise PlanError(
                f"the plan is for {plan.num_ranks} ranks, and this is the only process that torch.distributed knows",
                hint=f"make the sampler behind init_process_group, or pass rank=, 0 to {plan.num_ranks - 1}",
            )
        if self._num_processes != plan.num_ranks:
            ranks = "1 rank" if plan.num_ranks == 1 else f"{plan.num_ranks} ranks"
            raise PlanError(
                f"the plan is for {ranks}, and torch.distributed has {self._num_processes} processes",
                hint=f"plan_epoch(..., num_ranks={self._num_processes})",
            )
        if self._num_processes > 1 and not self._whole_steps:
            raise PlanError(
                f"{self._num_processes} processes would take one micro-batch after another, of which they may have "
                f"different numbers: those with fewer would leave the others waiting for ever",
                hint="whole_steps=True; or pass rank= if the processes never wait for each other",
            )


class _Share:
    """What one rank does in one epoch."""

    def __init__(self, plan: Plan | PlanStream, rank: int, whole_steps: bool) -> None:
        self._plan = plan
        own = plan.for_rank(rank)
        self._own = own
        self._digest: str | None = None
        self._ends = None
        if whole_steps or isinstance(own, PlanStream):
            self.num_items = len(plan)
            return
        self._images = own.indices()
        self._ends = np.cumsum(own.lengths())
        self.num_items = len(self._ends)

    def item(self, number: int) -> list[int]:
        """The image numbers of one item, in constant time."""
        if self._ends is not None:
            begin = int(self._ends[number - 1]) if number else 0
            return list(self._images[begin : int(self._ends[number])].tolist())
        own = self._own[number].micro_batches
        images = [image for micro_batch in own for image in micro_batch.indices]
        return images or [self._plan[number].micro_batches[-1].indices[-1]]

    def digest(self) -> str:
        """Of the plan of all ranks; worked out once."""
        if self._digest is None:
            self._digest = self._plan.digest()
        return self._digest


def _place_in_torch() -> tuple[int, int]:
    """This process's rank in ``torch.distributed`` and the number of processes: 0 of 1 where it is not in use."""
    # Not imported here: planning needs no torch. Who has initialised it has imported it.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
