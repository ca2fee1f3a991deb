"""How much is shuffled, and what that costs in padding: the pairs of images that share a step.

    .venv/bin/python benchmarks/mixing.py [--images 100000]

For pools of several depths: padding share; mean distance of co-batched images in rank of area and of aspect, over
that of any two images (1: uniform draws, 0: sorted); and how much more often than by chance two images that share a
step share one again in the next epoch. Sizes: long side log-uniform in 128..2048, aspect in 0.4..2.5.
"""

import argparse
import functools
import sys

import numpy as np

from anysize.batching import choose_canvases, measure_mixture, meeting_again, padding_share, plan_epoch
from sizes import heterogeneous

BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    sizes = heterogeneous(options.images)
    static = choose_canvases(sizes, 16)
    ways = {
        f"similar, pool of {pool} steps" if pool else "similar, all images": functools.partial(
            plan_epoch, sizes, BATCH_SIZE, multiple_of=8, pool=pool * BATCH_SIZE if pool else None
        )
        for pool in (1, 4, 16, 64, 256, 0)
    }
    for jitter in (0.0, 0.05, 0.2):
        ways[f"similar, all images, jitter {jitter}"] = functools.partial(
            plan_epoch, sizes, BATCH_SIZE, multiple_of=8, jitter=jitter
        )
    ways["similar, 16 static canvases"] = functools.partial(plan_epoch, sizes, BATCH_SIZE, canvases=static)
    ways["mixed"] = functools.partial(plan_epoch, sizes, BATCH_SIZE, mixing="mixed", multiple_of=8)
    ways["mixed, 16 static canvases"] = functools.partial(
        plan_epoch, sizes, BATCH_SIZE, mixing="mixed", canvases=static
    )
    print(f"{options.images:,} images, batch {BATCH_SIZE}; {' '.join(sys.argv)}")
    print(
        f"{'way':38} {'padding':>8} {'area':>6} {'aspect':>7} {'again':>8}   pairs within 5 / 25 / 50 % in rank of area"
    )
    for name, plan in ways.items():
        first, second = plan(epoch=0), plan(epoch=1)
        mixture = measure_mixture(first, sizes)
        near = np.cumsum(mixture.area_shares)[[0, 4, 9]]
        print(
            f"{name:38} {padding_share(first, sizes):8.1%} {mixture.area:6.2f} {mixture.aspect:7.2f} "
            f"{meeting_again(first, second):8.1f}   " + " / ".join(f"{share:.0%}" for share in near)
        )
    near = np.cumsum(mixture.uniform_shares)[[0, 4, 9]]
    print(f"{'any two images':38} {'':8} {1:6.2f} {1:7.2f} {1:8.1f}   " + " / ".join(f"{share:.0%}" for share in near))


if __name__ == "__main__":
    main()
