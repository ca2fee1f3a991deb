"""What holds for every plan, and sizes that are hard to plan."""

import numpy as np

from anysize.batching import CanvasSet, Plan

AWKWARD = {
    "one image": [(5, 7)],
    "one pixel each": [(1, 1)] * 37,
    "all equal": [(24, 31)] * 100,
    "primes": [(p, q) for p in (2, 3, 5, 7, 11, 13, 17) for q in (19, 23, 29, 31, 37)],
    "extreme aspects": [(1, 997), (997, 1), (1, 1), (31, 32), (500, 2), (2, 500), (1, 998)] * 3,
    "two kinds": [(375, 500), (500, 375)] * 33,
    "one huge": [(20, 20)] * 40 + [(997, 1009)],
}


def random_sizes(num_images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(4, 0.5, (num_images, 2)).astype(np.int64) + 1


def check(
    plan: Plan,
    sizes,
    batch_size: int,
    *,
    max_pixels: int | None = None,
    multiple_of: int = 1,
    num_ranks: int = 1,
    canvases: CanvasSet | None = None,
) -> None:
    """Everything that holds for every plan; ``canvases`` are those of a plan on static ones."""
    sizes = np.asarray(sizes)
    seen: list[int] = []
    for step in plan:
        assert 1 <= step.num_images <= batch_size
        for micro_batch in step.micro_batches:
            indices = list(micro_batch.indices)
            tight = tuple(-(-sizes[indices].max(axis=0) // multiple_of) * multiple_of)
            height, width = micro_batch.canvas
            if canvases is None:
                assert micro_batch.canvas == tight
            elif micro_batch.canvas in canvases.canvases:
                assert tight[0] <= height
                assert tight[1] <= width
            else:  # exact, for images of one rounded size only
                assert micro_batch.canvas == tight
                assert len(np.unique(-(-sizes[indices] // multiple_of), axis=0)) == 1
            assert micro_batch.canvas_pixels == height * width * len(indices)
            assert max_pixels is None or micro_batch.canvas_pixels <= max_pixels
            assert 0 <= micro_batch.rank < num_ranks
            assert indices == sorted(indices, key=lambda i: (-sizes[i].prod(), -sizes[i][0]))
            seen += indices
        busy = {micro_batch.rank for micro_batch in step.micro_batches}
        assert len(busy) == min(num_ranks, step.num_images)
    assert sorted(seen) == list(range(len(sizes)))
    # All steps are full but one.
    lengths = sorted(step.num_images for step in plan)
    assert lengths[1:] == [batch_size] * (len(plan) - 1)
    assert lengths[0] == len(sizes) - batch_size * (len(plan) - 1)
    assert plan.num_images == len(sizes)
    assert plan.num_canvases == len({m.canvas for step in plan for m in step.micro_batches})
    check_ranks(plan, num_ranks)


def check_ranks(plan: Plan, num_ranks: int) -> None:
    assert plan.num_ranks == num_ranks
    shares = [plan.for_rank(rank) for rank in range(num_ranks)]
    assert sum(share.num_images for share in shares) == plan.num_images
    for rank, share in enumerate(shares):
        assert len(share) == len(plan)
        assert share.num_ranks == num_ranks
        assert share.steps == tuple(step.for_rank(rank) for step in plan)
    for number, step in enumerate(plan):
        assert step.micro_batches == tuple(m for share in shares for m in share[number].micro_batches)
