"""Feeds one rank's micro-batches to a data loader."""

from collections.abc import Iterator, Mapping

import numpy as np

from anysize.batching.plan import Plan
from anysize.errors import PlanError

__all__ = ["BatchSampler"]


class BatchSampler:
    """One rank's micro-batches in the order of the plan, each a list of image numbers.

    For ``torch.utils.data.DataLoader(dataset, batch_sampler=BatchSampler(plan))``, which asks for no more
    than iteration and a length.

    Args:
        plan: of one epoch, or the rest of one: ``plan[k:]`` to go on after k steps.
        rank: whose micro-batches.

    Raises:
        PlanError: the plan is not for such a rank.
    """

    def __init__(self, plan: Plan, rank: int = 0) -> None:
        own = plan.for_rank(rank)
        self._images = own.indices()
        self._ends = np.cumsum(own.lengths())
        self._resume_at = 0
        self._position = 0

    def __len__(self) -> int:
        """All micro-batches of this rank, also when iteration will start behind the first."""
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        """From the first micro-batch, or once from where `load_state_dict` says."""
        first, self._resume_at = self._resume_at, 0
        self._position = first
        for number in range(first, len(self)):
            begin = int(self._ends[number - 1]) if number else 0
            # Before the yield: what was handed out counts as done, whether or not iteration goes on.
            self._position = number + 1
            yield self._images[begin : int(self._ends[number])].tolist()

    def state_dict(self, num_done: int | None = None) -> dict[str, int]:
        """Where to resume.

        Args:
            num_done: micro-batches that training has finished. Without it, those handed out so far count,
                which is too many behind a loader whose workers read ahead.
        """
        return {"num_done": self._position if num_done is None else num_done, "num_micro_batches": len(self)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Start the next iteration where ``state`` says, at once, however far that is.

        Raises:
            PlanError: the state is of a plan with another number of micro-batches, or lies outside of it.
        """
        total, num_done = state["num_micro_batches"], state["num_done"]
        if total != len(self):
            raise PlanError(
                f"the state is of {total} micro-batches, and this rank's plan has {len(self)}",
                hint="make the plan from the same sizes, limits, seed, epoch and number of ranks",
            )
        if not 0 <= num_done <= total:
            raise PlanError(f"the state says that {num_done} of {total} micro-batches are done")
        self._resume_at = self._position = num_done
