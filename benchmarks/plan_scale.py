"""Plans for 100 million images: time to the first step, speed, resuming, memory, balance of ranks.

Claims, for batches of 32 images a rank and 100 million images whose index is on disk:

* from opening the index to the first step less than 10 s, the choice of 16 static canvases included;
* 2 million images a second or more are planned on one core, with "similar" and "mixed" on 16 static canvases;
* resuming takes as long at any step; memory is that of one pool of images;
* for 1, 8, 64 and 1,024 ranks: as many steps on every rank, costs (canvas pixels) within 3 % in every step, and
  every image exactly once an epoch.

Sizes are those of ``sizes.py``. The index is columns in files, 16 bytes an image: uint16 (N, 2) sizes, uint32 labels,
uint64 places in a data file. It is written chunk by chunk into a temporary folder and memory-mapped, so its pages are
still in the system's cache when it is opened; a cold disk adds the time to read 4 bytes an image.

How it is measured: the process is bound to one core. Canvases are chosen twice, from the histogram of all images and
from that of a uniform sample. Speed is that of the pools after the first. One rank cannot take less than the largest
image of its step, so the balance is given twice: the costliest rank over the mean of all, and over the larger of that
mean and the largest image (on static canvases: the largest canvas in use). Both less 1. Misses are reported as they
are. Whether images come exactly once is checked with a table of one bit an image over whole epochs. Speed is given by
the clock on the wall, and by the time that the core spent on it: on a quiet machine they agree, on a busy one the
second is nearer to the truth, and the target is held against it.

    python benchmarks/plan_scale.py --output benchmarks/results/plan_scale.txt
    python benchmarks/plan_scale.py --images 10000000 --pools 1
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import anysize
from anysize.batching import CanvasSet, Plan, PlanStream, SizeHistogram, choose_canvases
from anysize.batching.noise import Shuffle
from sizes import SYNTHETIC, Sizes

DATA = ("heterogeneous", "imagenet_like")
RANKS = (1, 8, 64, 1024)
BATCH = 32
CANVASES = 16
CHUNK = 1 << 21
SAMPLE = 1 << 22
FIRST_STEP_TARGET, SPEED_TARGET, BALANCE_TARGET = 10.0, 2e6, 0.03
WAYS = {
    "similar, static": {"mixing": "similar"},
    "mixed, static": {"mixing": "mixed"},
    "similar, free": {"mixing": "similar", "multiple_of": 8},
    "mixed, free": {"mixing": "mixed", "multiple_of": 8},
}

Columns = npt.NDArray[np.uint16]


# The index.


def write_index(folder: Path, make: Callable[[int, int], Sizes], num_images: int) -> None:
    """Write all columns, chunk by chunk."""
    columns = {"sizes": np.uint16, "labels": np.uint32, "places": np.uint64}
    files = {name: (folder / name).open("wb") for name in columns}
    try:
        for number, first in enumerate(range(0, num_images, CHUNK)):
            count = min(CHUNK, num_images - first)
            images = np.arange(first, first + count)
            # imagenet_like draws with the next seed as well
            chunk = {"sizes": make(count, 2 * number), "labels": images % 1000, "places": images * 4096}
            for name, dtype in columns.items():
                files[name].write(chunk[name].astype(dtype).tobytes())
    finally:
        for file in files.values():
            file.close()


def open_index(folder: Path) -> Columns:
    """(N, 2) sizes, memory-mapped."""
    return np.memmap(folder / "sizes", dtype=np.uint16, mode="r").reshape(-1, 2)


# What is measured.


class Memory:
    """The most memory of its own that this process had, seen every few milliseconds; mapped files do not count."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, self.now())

    @staticmethod
    def now() -> int:
        """Bytes."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)

    def restart(self) -> str:
        """The peak so far in GiB, and begin anew."""
        text, self.peak = f"{max(self.peak, self.now()) / 2**30:.2f} GiB", 0
        return text


@dataclass
class Clock:
    """Seconds that a block took, and those that a core worked on it."""

    seconds: float = 0.0
    busy: float = 0.0


@contextmanager
def clock() -> Iterator[Clock]:
    """Measure a block."""
    found, began, busy = Clock(), time.perf_counter(), time.thread_time()
    yield found
    found.seconds = time.perf_counter() - began
    found.busy = time.thread_time() - busy


def first_step(folder: Path, *, sample: int | None) -> tuple[CanvasSet, dict[str, float]]:
    """Everything from opening the index to the first step in hand; the canvases, and seconds of each part."""
    with clock() as opening:
        sizes = open_index(folder)
    with clock() as counting:
        part = sizes if sample is None else sizes[np.sort(Shuffle(1, len(sizes)).numbers(0, min(sample, len(sizes))))]
        histogram = SizeHistogram.of(part, 8)
    with clock() as choosing:
        canvases = choose_canvases(histogram, CANVASES)
    with clock() as checking:
        stream = PlanStream(sizes, BATCH, canvases=canvases)
    with clock() as planning:
        assert stream[0].num_images == BATCH
    seconds = {"count": opening.seconds + counting.seconds, "choose": choosing.seconds}
    seconds |= {"check": checking.seconds, "first pool": planning.seconds}
    busy = sum(part.busy for part in (opening, counting, choosing, checking, planning))
    return canvases, seconds | {"total": sum(seconds.values()), "core": busy}


def make_stream(sizes: Columns, way: str, canvases: CanvasSet, num_ranks: int = 1) -> PlanStream:
    """The stream of one way, 32 images a rank."""
    options: dict[str, Any] = dict(WAYS[way])
    if "static" in way:
        options["canvases"] = canvases
    return PlanStream(sizes, BATCH * num_ranks, num_ranks=num_ranks, **options)


def pools_to_time(stream: PlanStream, count: int) -> list[int]:
    """Full pools, spread over the epoch."""
    return np.unique(np.linspace(0, max(stream.num_pools - 2, 0), count + 1).astype(int)).tolist()


def speed(stream: PlanStream, count: int) -> tuple[float, float]:
    """Images a second, by the wall and by the core, without the first pool."""
    numbers = pools_to_time(stream, count)
    stream.pool(numbers[0])
    images = 0
    with clock() as planning:
        for number in numbers[1:] or [0]:
            images += stream.pool(number).num_images
    return images / planning.seconds, images / planning.busy


def resume_times(stream: PlanStream) -> list[float]:
    """Seconds to the first step after a break at the begin, in the middle and at the last full pool's end."""
    steps = [0, len(stream) // 2, len(stream) - 1]
    found = []
    for step in steps:
        fresh = stream.for_rank(0)  # keeps no pool
        with clock() as planning:
            plan = next(fresh.plans(first_step=step))
            assert plan[0].num_images <= BATCH
        found.append(planning.seconds)
    return found


def costs(plan: Plan) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(steps, ranks) canvas pixels, and (steps,) the largest canvas of a single image."""
    micro_batches = np.diff(plan._steps).reshape(-1)
    step = np.repeat(np.arange(len(plan)), micro_batches)
    areas = plan.canvases().prod(axis=1)
    cells = step * plan.num_ranks + plan._ranks[plan._chosen()]
    pixels = np.bincount(cells, weights=areas * plan.lengths(), minlength=len(plan) * plan.num_ranks)
    largest = np.maximum.reduceat(areas, np.cumsum(micro_batches) - micro_batches)
    return pixels.reshape(len(plan), plan.num_ranks), largest


def balance(stream: PlanStream, sizes: Columns, is_static: bool, count: int) -> dict[str, float]:
    """How much longer than the others the costliest rank takes, over steps."""
    over_mean, over_possible = [], []
    for number in pools_to_time(stream, count)[:count]:
        plan = stream.pool(number)
        pixels, largest = costs(plan)
        if not is_static:  # the image itself: with another canvas it could lie on one as small
            areas = sizes[plan.indices()].astype(np.int64).prod(axis=1)
            largest = np.maximum.reduceat(areas, np.arange(0, len(areas), BATCH * stream.num_ranks))
        mean = pixels.mean(axis=1)
        over_mean.append(pixels.max(axis=1) / mean - 1)
        over_possible.append(pixels.max(axis=1) / np.maximum(mean, largest) - 1)
        last = stream.num_ranks - 1
        assert len(plan.for_rank(0)) == len(plan.for_rank(last)) == len(plan)
    mean_all, possible_all = np.concatenate(over_mean), np.concatenate(over_possible)
    return {
        "max": float(mean_all.max()),
        "p99": float(np.quantile(mean_all, 0.99)),
        "mean": float(mean_all.mean()),
        "possible max": float(possible_all.max()),
        "possible p99": float(np.quantile(possible_all, 0.99)),
        "possible mean": float(possible_all.mean()),
    }


def whole_epoch(stream: PlanStream) -> tuple[int, int, float]:
    """How many images came, how many different ones, and images a second with the table's upkeep."""
    table = np.zeros(-(-stream.num_images // 8), dtype=np.uint8)
    came = steps = 0
    with clock() as planning:
        for plan in stream.plans():
            images = plan.indices()
            came += len(images)
            steps += len(plan)
            for bit in range(8):
                table[images[images & 7 == bit] >> 3] |= np.uint8(1 << bit)
    assert steps == len(stream)
    return came, int(np.bitwise_count(table).sum(dtype=np.int64)), came / planning.busy


# The report.


SPEEDS = "  {:<20} {:>12} {:>14} {:>32} {:>10}  {}"


def verdict(is_met: bool, target: str) -> str:
    """Met or not."""
    return f"target {target}: {'met' if is_met else 'NOT met'}"


def describe_machine(options: argparse.Namespace) -> dict[str, str]:
    """Name hardware, versions and the command line."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, bound to one of {os.cpu_count()} cores",
        "versions": f"anysize {anysize.__version__}, NumPy {np.__version__}, Python {platform.python_version()}",
        "images": f"{options.images:,}, {BATCH} a rank, pools as by default, {CANVASES} static canvases",
        "load": f"{os.getloadavg()[0]:.1f} before the start (0 on a quiet machine)",
    }


def report_data(data: str, folder: Path, options: argparse.Namespace, memory: Memory) -> Iterator[str]:
    """All measurements on one collection, line by line."""
    with clock() as writing:
        write_index(folder, SYNTHETIC[data], options.images)
    size = sum(path.stat().st_size for path in folder.iterdir()) / options.images
    peak = memory.restart()
    yield f"\n{data}: index written in {writing.seconds:.0f} s, {size:.0f} bytes an image, peak memory {peak}"
    canvases, whole = first_step(folder, sample=None)
    yield first_step_line("all images", whole, memory)
    sampled, seconds = first_step(folder, sample=SAMPLE)
    yield first_step_line(f"a sample of {SAMPLE:,}", seconds, memory)
    sizes = open_index(folder)
    yield (
        f"  padding of full batches: {canvases.padding_share:.2%} on canvases chosen from all, "
        f"{sampled.padding_share:.2%} on those from the sample"
    )
    memory.restart()
    yield SPEEDS.format(
        "one core, one rank", "images/s", "images/core s", "s to resume: begin, middle, end", "memory", ""
    )
    for way in WAYS:
        stream = make_stream(sizes, way, canvases)
        wall, core = speed(stream, options.pools)
        resumed = ", ".join(f"{seconds:.2f}" for seconds in resume_times(stream))
        met = verdict(core >= SPEED_TARGET, f"{SPEED_TARGET:,.0f}") if "static" in way else ""
        yield SPEEDS.format(way, f"{wall:,.0f}", f"{core:,.0f}", resumed, memory.restart(), met).rstrip()
    for way, num_ranks in (("similar, static", 1), ("mixed, static", 64)):
        stream = make_stream(sizes, way, canvases, num_ranks)
        came, different, fast = whole_epoch(stream)
        exact = "every image exactly once" if came == different == options.images else "NOT every image exactly once"
        yield (
            f"  a whole epoch, {way}, {num_ranks} ranks: {len(stream):,} steps on every rank, {came:,} images came, "
            f"{different:,} different: {exact}; {fast:,.0f} images/core s with the table's upkeep"
        )
    yield "  costliest rank of a step     over the mean: max, 99 %, mean      over what is possible: max, 99 %, mean"
    for num_ranks in RANKS[1:]:
        for way in WAYS:
            found = balance(make_stream(sizes, way, canvases, num_ranks), sizes, "static" in way, options.pools)
            shares = [f"{value:.1%}" for value in found.values()]
            met = verdict(found["max"] <= BALANCE_TARGET, f"{BALANCE_TARGET:.0%}")
            also = verdict(found["possible max"] <= BALANCE_TARGET, "of the possible")
            yield (
                f"  {num_ranks:>5} ranks, {way:<16} {shares[0]:>8} {shares[1]:>8} {shares[2]:>8}    "
                f"{shares[3]:>8} {shares[4]:>8} {shares[5]:>8}   {met}; {also}"
            )


def first_step_line(source: str, seconds: dict[str, float], memory: Memory) -> str:
    """Time to the first step."""
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name not in ("total", "core"))
    met = verdict(seconds["total"] < FIRST_STEP_TARGET, f"{FIRST_STEP_TARGET:.0f} s")
    total, core, peak = seconds["total"], seconds["core"], memory.restart()
    return (
        f"  first step, canvases from {source}: {total:.1f} s, {core:.1f} of the core ({parts}), memory {peak}; {met}"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description="Plans for 100 million images.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000_000, help="of each collection")
    parser.add_argument("--pools", type=int, default=4, help="pools that each figure is taken over")
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA, help="collections")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the text to FILE as well")
    options = parser.parse_args()
    if options.images < BATCH * max(RANKS) * 64:
        parser.error(
            f"--images is {options.images}; {BATCH * max(RANKS) * 64} or more are needed for {max(RANKS)} ranks"
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    lines = [f"{name:<10} {value}" for name, value in describe_machine(options).items()]
    print("\n".join(lines), flush=True)
    with Memory() as memory:
        for data in options.data:
            with tempfile.TemporaryDirectory() as folder:
                for line in report_data(data, Path(folder), options, memory):
                    lines.append(line)
                    print(line, flush=True)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
