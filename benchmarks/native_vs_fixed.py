# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""Training at native sizes against the usual ways: how many real pixels a second?

Claim: a training step (forward, backward, SGD update) of ``fcn_small`` on images of many sizes, exact, runs
at 0.90 or more of the speed of one on images of a single size with as many pixels, in float32 on a CPU.

Grey images with heights and widths uniform in 64..256, in memory, 3 classes. In one run, on the same
images:

* ``native``: ragged batches (exact) on the canvases of ``plan_epoch(mixing="similar")``.
* ``fixed``: the ideal: as many images a step, all of one square size, with the same area on average.
* ``largest``: each image padded with zeros to the largest height and width of all. It leaks.
* ``single``: one image at a time, gradients added up over the images of a step, then one update: the
  mathematics is that of ``native``.
* ``leaking``: the canvases of ``native`` as plain tensors. It leaks; its lead over ``native`` is the price
  of exactness alone.
* ``keras_single``, ``keras_largest``, ``keras_fixed``: the same network in TF-Keras, in a process of its
  own (``keras_peer.py``). One image at a time it updates after each image.

How it is measured:

* Real pixels count; padding is no work done. Laying images on canvases is left out for all ways; making a
  `RaggedBatch` of a canvas is not.
* The plan is that of all ``--num-images`` images, so its padding share is that of a whole epoch. A round
  takes about ``--round-megapixels`` of its steps, one from each of equal classes of step size: small and
  large alike.
* The ways alternate: each runs in each round, and the order turns from round to round, because other work
  on the machine slows whatever runs at that moment. Ratios are taken within a round; what is printed is
  their median.
* oneDNN, under torch and TensorFlow, makes kernels for each shape it meets and keeps some. Every round is a
  part of another epoch, with a plan of its own, so most of its shapes are new. Ways with many shapes run
  each round once before the others: "new shapes" makes all kernels, "real Mpx/s" finds them. Training lies
  between: new in the first epoch, and later where canvases differ from those before or more are in use than
  the cache holds.
* "First epoch" is the very first round, with tracing and all else that happens once. It is in no median.
* The settings of `anysize.startup` (keep memory, keep more oneDNN kernels) hold for all ways in torch.
  TF-Keras is told to keep memory too, by glibc's environment variables.

    python benchmarks/native_vs_fixed.py
    python benchmarks/native_vs_fixed.py --batch-size 8 --rounds 25 --output results.json
    python benchmarks/native_vs_fixed.py --tf-python /path/to/environment/with/tensorflow/bin/python
"""

import argparse
import importlib.util
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from anysize import startup

ENVIRONMENT = dict(os.environ)  # before our settings: a peer starts from the user's
STARTUP_NOTES = startup.apply(startup.StartupSettings())

import numpy as np
import torch
from torch import Tensor, nn

import anysize
from anysize.batching import Plan, padding_share, plan_epoch
from anysize.losses import cross_entropy
from anysize.models import create_model
from anysize.ragged import Padding, RaggedBatch
from keras_peer import KerasPeer, keras_peer

SHORTEST, LONGEST = 64, 256
NUM_CLASSES = 3
STRIDE = 4  # of fcn_small; the fixed size is a multiple of it, so that pooling drops none of its pixels
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
TARGET = 0.90
NO_TENSORFLOW = "not installed: pip install tensorflow (into another environment: --tf-python PATH)"

TITLES = {
    "native": "native sizes, exact",
    "fixed": "one fixed size: the ideal",
    "largest": "padded to the largest, leaking",
    "single": "one image at a time",
    "leaking": "native's canvases, leaking",
    "keras_single": "TF-Keras, one image at a time",
    "keras_largest": "TF-Keras, padded to the largest",
    "keras_fixed": "TF-Keras, one fixed size",
}
MANY_SHAPES = ("native", "single", "keras_single")  # "leaking" has the shapes of "native", never new ones

Size = tuple[int, int]


# What is computed.


@dataclass(frozen=True)
class Forward:
    """Images of one forward: their sizes, the canvas they lie on, and whether they become a ragged batch."""

    sizes: tuple[Size, ...]
    canvas: Size
    is_ragged: bool = False

    @property
    def num_real(self) -> int:
        """Real pixels."""
        return sum(height * width for height, width in self.sizes)

    @property
    def num_canvas(self) -> int:
        """Canvas pixels."""
        return len(self.sizes) * self.canvas[0] * self.canvas[1]


Work = list[list[Forward]]  # steps of forwards


@dataclass(frozen=True)
class Task:
    """One round's work, from which each way makes its own."""

    planned: Work
    """The steps as planned, exact."""
    square: Size
    """The fixed size."""
    largest: Size
    """The largest height and width of all images."""
    seed: int
    """Of the pixels."""

    def work_of(self, way: str) -> Work:
        """Say what ``way`` computes."""
        kind = way.removeprefix("keras_")
        if kind == "native":
            return self.planned
        if kind == "leaking":
            return [[Forward(one.sizes, one.canvas) for one in step] for step in self.planned]
        steps = [[size for one in step for size in one.sizes] for step in self.planned]
        if kind == "fixed":
            return [[Forward((self.square,) * len(sizes), self.square)] for sizes in steps]
        if kind == "largest":
            return [[Forward(tuple(sizes), self.largest)] for sizes in steps]
        assert kind == "single", way
        return [[Forward((size,), size) for size in sizes] for sizes in steps]


def draw_task(plan: Plan, sizes: np.ndarray, megapixels: float, seed: Sequence[int]) -> Task:
    """Take some steps of a plan: one at random from each of equal classes of real pixels."""
    random = np.random.default_rng(seed)
    steps = [
        [
            Forward(tuple((int(sizes[i, 0]), int(sizes[i, 1])) for i in part.indices), part.canvas, is_ragged=True)
            for part in step.micro_batches
        ]
        for step in plan
    ]
    pixels = [sum(forward.num_real for forward in step) for step in steps]
    num_steps = min(len(steps), max(1, round(megapixels * 1e6 / statistics.mean(pixels))))
    classes = np.array_split(np.argsort(pixels), num_steps)
    chosen = random.permutation([random.choice(members) for members in classes])
    side = max(1, round(float(np.sqrt(sizes.prod(axis=1).mean())) / STRIDE)) * STRIDE
    height, width = sizes.max(axis=0).tolist()
    return Task(
        planned=[steps[number] for number in chosen],
        square=(side, side),
        largest=(height, width),
        seed=int(random.integers(2**31)),
    )


# Who computes it.


class Runner(Protocol):
    """One way's network."""

    def seconds(self, work: Work, seed: int) -> float:
        """Time the training steps of ``work``; its images are made before the clock starts."""


class TorchRunner:
    """A network and its optimiser in torch."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        model = create_model("fcn_small", num_classes=NUM_CLASSES, in_channels=1)
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def seconds(self, work: Work, seed: int) -> float:
        """Time the training steps of ``work``."""
        random = np.random.default_rng(seed)
        steps = [[(forward, *make_data(forward, random)) for forward in step] for step in work]
        started = time.perf_counter()
        for step in steps:
            num_images = sum(len(forward.sizes) for forward, _, _ in step)
            for forward, canvas, targets in step:
                loss = cross_entropy(predict(self.model, forward, canvas), targets)
                (loss.total / num_images).backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        elapsed = time.perf_counter() - started
        assert all(torch.isfinite(parameter).all() for parameter in self.model.parameters())
        return elapsed


def make_data(forward: Forward, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Noise images on a canvas of zeros, in channels_last memory: (N, 1, H, W), and targets (N,)."""
    pixels = np.zeros((len(forward.sizes), *forward.canvas, 1), dtype=np.float32)
    for place, (height, width) in zip(pixels, forward.sizes, strict=True):
        place[:height, :width] = random.random((height, width, 1), dtype=np.float32)
    targets = random.integers(0, NUM_CLASSES, len(forward.sizes))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(targets)


def predict(model: nn.Module, forward: Forward, canvas: Tensor) -> Tensor:
    """Logits (N, K)."""
    batch = RaggedBatch(canvas, forward.sizes, padding=Padding.ZERO) if forward.is_ragged else canvas
    logits: Tensor = model(batch)
    return logits


class KerasRunner:
    """One way's network in TF-Keras."""

    def __init__(self, peer: KerasPeer, way: str) -> None:
        self.peer, self.way, self.is_fresh = peer, way, True

    def seconds(self, work: Work, seed: int) -> float:  # noqa: ARG002 - the peer draws its own noise
        """Time the training steps of ``work``."""
        batches = [(len(forward.sizes), *forward.canvas) for step in work for forward in step]
        seconds = self.peer.seconds(self.way, batches, fresh=self.is_fresh)
        self.is_fresh = False
        return seconds


# Rounds.


@dataclass(frozen=True)
class Timing:
    """One way in one round."""

    way: str
    round: int
    new_shapes: bool
    seconds: float
    num_real: int
    num_canvas: int
    num_images: int
    num_forwards: int

    @property
    def speed(self) -> float:
        """Real megapixels a second."""
        return self.num_real / 1e6 / self.seconds


def measure(way: str, runner: Runner, task: Task, number: int, *, new_shapes: bool) -> Timing:
    """Time one way once, in round ``number``."""
    work = task.work_of(way)
    forwards = [forward for step in work for forward in step]
    return Timing(
        way=way,
        round=number,
        new_shapes=new_shapes,
        seconds=runner.seconds(work, task.seed),
        num_real=sum(forward.num_real for forward in forwards),
        num_canvas=sum(forward.num_canvas for forward in forwards),
        num_images=sum(len(forward.sizes) for forward in forwards),
        num_forwards=len(forwards),
    )


def run_round(runners: dict[str, Runner], task: Task, number: int) -> list[Timing]:
    """Time those with many shapes on new ones, then all on shapes met before; in round 0 first uses only."""
    if number == 0:
        new, seen = [way for way in runners if way != "leaking"], []
    else:
        ways = list(runners)
        turn = number % len(ways)
        new, seen = [way for way in ways if way in MANY_SHAPES], ways[turn:] + ways[:turn]
    return [measure(way, runners[way], task, number, new_shapes=True) for way in new] + [
        measure(way, runners[way], task, number, new_shapes=False) for way in seen
    ]


@dataclass(frozen=True)
class Series:
    """All rounds at one batch size."""

    batch_size: int
    num_steps: int
    """Steps of the last round."""
    num_planned: int
    """Steps of an epoch."""
    padding_share: float
    """Of a whole epoch."""
    square: Size
    errors: dict[str, float]
    """See `logit_errors`."""
    timings: list[Timing]

    @property
    def ways(self) -> list[str]:
        """The ways that ran."""
        return [way for way in TITLES if any(timing.way == way for timing in self.timings)]

    def first(self, way: str) -> Timing | None:
        """One way in round 0; None for a way that meets no shape first."""
        return next((timing for timing in self.timings if timing.way == way and timing.round == 0), None)

    def later(self, way: str, *, new_shapes: bool = False) -> list[Timing]:
        """One way in all rounds but the first."""
        own = [timing for timing in self.timings if timing.way == way and timing.round > 0]
        return [timing for timing in own if timing.new_shapes == new_shapes]

    def speeds(self, way: str, *, new_shapes: bool = False) -> list[float]:
        """Real megapixels a second, round by round."""
        return [timing.speed for timing in self.later(way, new_shapes=new_shapes)]

    def ratios(self, way: str, base: str = "fixed", *, new_shapes: bool = False) -> list[float]:
        """Speed of ``way`` over that of ``base`` (on shapes met before), round by round."""
        pairs = zip(self.speeds(way, new_shapes=new_shapes), self.speeds(base), strict=True)
        return [mine / other for mine, other in pairs]


def run_series(options: argparse.Namespace, batch_size: int, peer: KerasPeer | None) -> Series:
    """Run all rounds at one batch size, on images of its own."""
    random = np.random.default_rng([options.seed, batch_size])
    sizes = random.integers(SHORTEST, LONGEST + 1, (options.num_images, 2))
    runners: dict[str, Runner] = {way: TorchRunner(options.seed) for way in TITLES if "keras" not in way}
    if peer is not None:
        runners |= {way: KerasRunner(peer, way) for way in TITLES if "keras" in way}
    timings = []
    for number in range(options.rounds + 1):
        plan = plan_epoch(
            sizes,
            batch_size,
            mixing="similar",
            multiple_of=options.multiple_of,
            seed=options.seed,
            epoch=number,
        )
        task = draw_task(plan, sizes, options.round_megapixels, [options.seed, batch_size, number])
        timings += run_round(runners, task, number)
        print(f"batch size {batch_size}: round {number} of {options.rounds}", file=sys.stderr)
    return Series(
        batch_size=batch_size,
        num_steps=len(task.planned),
        num_planned=len(plan),
        padding_share=padding_share(plan, sizes),
        square=task.square,
        errors=logit_errors(task, options.seed),
        timings=timings,
    )


@torch.no_grad()
def logit_errors(task: Task, seed: int) -> dict[str, float]:
    """Per way, the largest difference of logits from those of one image at a time, relative to these."""
    model = TorchRunner(seed).model
    errors = {}
    for way in ("native", "leaking", "largest"):
        forward = task.work_of(way)[0][0]
        canvas, _ = make_data(forward, np.random.default_rng(seed))
        alone = torch.cat([model(canvas[i : i + 1, :, :h, :w]) for i, (h, w) in enumerate(forward.sizes)])
        errors[way] = float((predict(model, forward, canvas) - alone).abs().max() / alone.abs().max())
    return errors


# The report.


def describe_machine(options: argparse.Namespace, peer: KerasPeer | None) -> dict[str, str]:
    """Name hardware, versions, settings and the command line."""
    kernels = os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "default")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "processor": f"{cpu_model()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "versions": f"anysize {anysize.__version__}, torch {torch.__version__}, NumPy {np.__version__}",
        "tf-keras": peer.versions if peer else NO_TENSORFLOW,
        "settings": f"float32, channels_last, {options.threads} threads, oneDNN kernels kept: {kernels}, "
        f"notes of anysize.startup: {'; '.join(STARTUP_NOTES) or 'none'}",
        "images": f"{options.num_images} planned, sides uniform in {SHORTEST}..{LONGEST}, "
        f"seed {options.seed}, canvases in multiples of {options.multiple_of}",
        "load": f"{os.getloadavg()[0]:.1f} before the start (0 on a quiet machine)",
    }


def cpu_model() -> str:
    """The processor's name for itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


COLUMNS = "  {:<31} {:>20} {:>20} {:>11} {:>12} {:>8} {:>15}"


def render(series: Series) -> str:
    """Lay out the table of one batch size."""
    title = (
        f"Batch size {series.batch_size}: {series.num_steps} of {series.num_planned} steps a round; "
        f"fixed size {series.square[0]}x{series.square[1]}; "
        f"padding share of a whole epoch {series.padding_share:.1%}"
    )
    names = ("real Mpx/s", "of fixed", "new shapes", "first epoch", "padding", "images/forward")
    rows = [COLUMNS.format(TITLES[way], *row(series, way)) for way in series.ways]
    return "\n".join([title, COLUMNS.format("way", *names), *rows, *verdict(series)])


def row(series: Series, way: str) -> list[str]:
    """The columns of one way."""
    later = series.later(way)
    new = series.speeds(way, new_shapes=True)
    first = series.first(way)
    padding = 1 - sum(t.num_real for t in later) / sum(t.num_canvas for t in later)
    per_forward = sum(t.num_images for t in later) / sum(t.num_forwards for t in later)
    return [
        spread(series.speeds(way)),
        spread(series.ratios(way)),
        f"{statistics.median(new):.2f}" if new else "",
        f"{first.speed:.2f}" if first else "",
        f"{padding:.1%}",
        f"{per_forward:.1f}",
    ]


def verdict(series: Series) -> list[str]:
    """What follows from a table."""
    seen, new = series.ratios("native"), series.ratios("native", new_shapes=True)
    if min(statistics.median(seen), statistics.median(new)) >= TARGET:
        reached = "reached"
    elif statistics.median(seen) >= TARGET:
        reached = "reached on shapes met before, missed on new ones"
    else:
        reached = "missed"
    errors = ", ".join(f"{way} {error:.0e}" for way, error in series.errors.items())
    return [
        f"  Exact native / fixed: {spread(seen)} on shapes met before, {spread(new)} on new ones. "
        f"Target {TARGET:.2f}: {reached}.",
        f"  The price of exactness alone, native / leaking: {spread(series.ratios('native', 'leaking'))}.",
        f"  Largest difference of logits from one image at a time, relative: {errors}.",
    ]


def to_json(machine: dict[str, str], all_series: Sequence[Series]) -> str:
    """All timings, and the ratios that the tables show."""
    entries = []
    for series in all_series:
        medians = {way: statistics.median(series.ratios(way)) for way in series.ways}
        new = statistics.median(series.ratios("native", new_shapes=True))
        entries.append(asdict(series) | {"median_of_fixed": medians, "native_new_shapes_of_fixed": new})
    return json.dumps({"machine": machine, "series": entries}, indent=1) + "\n"


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Real megapixels a second in training: native sizes against the usual ways.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--num-images", type=int, default=4096, help="images that an epoch is planned for")
    add("--batch-size", type=int, nargs="+", default=[4, 8, 16], help="images a step, one table for each")
    add("--multiple-of", type=int, default=1, help="canvases of native are rounded up to multiples of it")
    add("--rounds", type=int, default=7, help="measured rounds, after the first")
    add("--round-megapixels", type=float, default=3.0, help="real megapixels of each way in a round")
    add("--threads", type=int, default=os.cpu_count(), help="threads of each library")
    add("--seed", type=int, default=0, help="of sizes, plans, pixels and weights")
    add("--tf-python", metavar="PATH", help="interpreter that has tensorflow, where this one has not")
    add("--json", action="store_true", help="print raw results as JSON instead of tables")
    add("--output", type=Path, metavar="FILE", help="write raw results as JSON to FILE as well")
    options = parser.parse_args()
    for name in ("num_images", "multiple_of", "rounds", "round_megapixels", "threads"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; more than 0 is required")
    if min(options.batch_size) < 1:
        parser.error(f"--batch-size is {min(options.batch_size)}; 1 or more is required")
    return options


def run(options: argparse.Namespace, peer: KerasPeer | None) -> None:
    """Run all batch sizes and print their tables."""
    machine = describe_machine(options, peer)
    if not options.json:
        print("\n".join(f"{name:<10} {value}" for name, value in machine.items()), flush=True)
    all_series = []
    for batch_size in options.batch_size:
        all_series.append(run_series(options, batch_size, peer))
        if not options.json:
            print("\n" + render(all_series[-1]), flush=True)
    text = to_json(machine, all_series)
    if options.json:
        print(text, end="")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)


def main() -> None:
    """Run the benchmark, with TF-Keras where there is one."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    python = options.tf_python
    if python is None and importlib.util.find_spec("tensorflow"):
        python = sys.executable
    with ExitStack() as stack:
        peer = None
        if python is not None:
            rates = {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM}
            settings = {"threads": options.threads, "seed": options.seed, **rates}
            peer = stack.enter_context(keras_peer(python, ENVIRONMENT, **settings))
        run(options, peer)


if __name__ == "__main__":
    main()
