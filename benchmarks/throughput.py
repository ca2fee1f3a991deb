# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""Real training at original sizes against one fixed size: how many real pixels a second?

    .venv/bin/python benchmarks/throughput.py [--data FOLDER] [--rounds 5] [--models fcn_small resnet9]

Claim: a training step at original sizes, exact, runs at 0.95 or more of the fixed-size ideal with equal pixels, in
float32 on a CPU.

The steps are those of ``anysize train`` (its own step function, options and loader) on the photos of two folders,
without augmentation, batch 32, AdamW. Ways:

* ``mixed``: the defaults of ``anysize train``: uniform draws, spread over canvases by size, together through batch
  normalisation.
* ``similar``: steps of images alike in size, split where that saves more padding than a forward costs.
* ``static``: uniform draws on 16 static canvases.
* ``fixed``: the ideal: every image squashed to one square with as many pixels as the images have on average.

Decode excluded: the images of the steps lie in memory as bytes. Decode included: the loader of ``anysize train`` with
one worker reads and decodes files beside the training; the ideal also squashes them there.

The ways alternate step by step within a round, each having its own network; rounds turn the order. Canvases have been
met once before (the first round compiles kernels: its time is printed apart). What is printed is the median over
rounds of real pixels per second, and of the ratio to ``fixed`` in the same round, with the spread of the ratios.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from anysize import startup

startup.apply(startup.StartupSettings())

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from anysize.batching import Plan
from anysize.data import DataOptions, ImageDataset, load_data
from anysize.loading import EpochPlanner, Normalisation, PlanLoader, RawBatch
from anysize.losses import create_objective
from anysize.models import create_model, has_batch_statistics
from anysize.options import BatchOptions
from anysize.stepping.criterion import Criterion
from anysize.stepping.passes import Passes
from anysize.stepping.step import train_step

BATCH_SIZE = 32
MAX_PIXELS = 12_000_000
NORMALISATION = Normalisation((120.0,) * 3, (60.0,) * 3)
OPTIONS = {
    "mixed": BatchOptions(batch_size=BATCH_SIZE, max_pixels=MAX_PIXELS),
    "similar": BatchOptions(batch_size=BATCH_SIZE, max_pixels=MAX_PIXELS, mixing="similar"),
    "static": BatchOptions(batch_size=BATCH_SIZE, max_pixels=MAX_PIXELS, max_canvases=16),
    "fixed": BatchOptions(batch_size=BATCH_SIZE, max_pixels=MAX_PIXELS),
}
TARGET = 0.95


class Squares(ImageDataset):
    """The same images, each squashed to one square."""

    side = 0

    def sizes(self, epoch: int = 0) -> NDArray[np.int64]:
        """(N, 2): all the same."""
        return np.full((len(self), 2), self.side) if self.side else super().sizes(epoch)

    def load(self, index: int, epoch: int = 0) -> NDArray[np.uint8]:
        """Decode and squash."""
        picture = Image.fromarray(super().load(index, epoch))
        return np.asarray(picture.resize((self.side, self.side), Image.Resampling.BILINEAR))


@dataclass
class Way:
    """One way to train: its network and its steps."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    plan: Plan
    loader: PlanLoader
    passes: Passes
    criterion: Criterion
    padding: float = 0.0
    in_memory: list[list[RawBatch]] | None = None

    def steps(self, count: int, *, decode: bool) -> Iterator[Iterator[RawBatch]]:
        """The first ``count`` steps of the epoch: from files, or from memory."""
        if decode:
            yield from self.loader.steps(self.plan[:count])
            return
        if self.in_memory is None:
            self.in_memory = [list(step) for step in self.loader.steps(self.plan[:count])]
        for step in self.in_memory:
            yield iter(step)

    def run(self, batches: Iterator[RawBatch]) -> tuple[float, int, int]:
        """One training step: seconds (waiting for data included), real and canvas pixels."""
        started = time.perf_counter()
        sums = train_step(
            self.model,
            self.optimizer,
            batches,
            NORMALISATION,
            self.criterion,
            device=torch.device("cpu"),
            channels_last=True,
            passes=self.passes,
            name_of=str,
        )
        return time.perf_counter() - started, sums.num_real, sums.num_canvas


def make_way(name: str, model_name: str, dataset: ImageDataset, classes: int) -> Way:
    """Build one way over ``dataset``."""
    torch.manual_seed(0)
    model = create_model(model_name, num_classes=classes, in_channels=3).to(memory_format=torch.channels_last)
    model.train()
    plan = EpochPlanner(dataset.sizes, OPTIONS[name], seed=0).plan(0)
    assert isinstance(plan, Plan)
    return Way(
        name,
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-4),
        plan,
        PlanLoader(dataset, workers=1),
        Passes(MAX_PIXELS, together=has_batch_statistics(model)),
        Criterion(create_objective("ce", num_classes=classes, ignore_label=None)),
    )


def measure(ways: list[Way], count: int, rounds: int, *, decode: bool) -> dict[str, dict[str, object]]:
    """Real pixels per second of each way in each round, the ways alternating step by step."""
    speeds: dict[str, list[float]] = {way.name: [] for way in ways}
    first: dict[str, float] = {}
    for number in range(rounds + 1):  # the first round meets every canvas for the first time
        seconds, real, canvas = ({way.name: 0.0 for way in ways} for _ in range(3))
        sources = {way.name: iter(way.steps(count, decode=decode)) for way in ways}
        for step in range(count):
            for turn in range(len(ways)):
                way = ways[(turn + step + number) % len(ways)]
                took, pixels, laid = way.run(next(sources[way.name]))
                seconds[way.name] += took
                real[way.name] += pixels
                canvas[way.name] += laid
        for source in sources.values():
            next(source, None)
        for way in ways:
            way.padding = 1 - real[way.name] / canvas[way.name]
            if number:
                speeds[way.name].append(real[way.name] / seconds[way.name] / 1e6)
            else:
                first[way.name] = seconds[way.name]
    return {
        way.name: {
            "mpx_per_s": statistics.median(speeds[way.name]),
            "ratios": [mine / ideal for mine, ideal in zip(speeds[way.name], speeds["fixed"], strict=True)],
            "padding": way.padding,
            "first_round_s": first[way.name],
        }
        for way in ways
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--folders", nargs="+", default=["photos", "cats_dogs"])
    parser.add_argument("--models", nargs="+", default=["fcn_small", "resnet9"])
    parser.add_argument("--ways", nargs="+", default=["mixed", "similar", "static"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps a round; photos have three in all")
    parser.add_argument("--output", type=Path, help="also write JSON here")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {' '.join(sys.argv)}")
    results = {}
    for folder in options.folders:
        root = options.data / folder
        source = load_data(root / "images" if (root / "images").is_dir() else root, DataOptions(val_split=0.2))
        # Labels make no difference to speed; some of the folders have none.
        table = replace(source.train, labels=np.arange(len(source.train)) % 2)
        natural, squares = ImageDataset(table, 3), Squares(table, 3)
        squares.side = round(float(np.sqrt(natural.sizes().prod(axis=1).mean())) / 8) * 8
        sizes = natural.sizes()
        extent = f"{sizes.min()}..{sizes.max()} px a side"
        print(f"\n{folder}: {len(natural)} images, {extent}; ideal: squares of {squares.side}")
        for model in options.models:
            for decode in (False, True):
                ways = [make_way(name, model, natural, 2) for name in options.ways]
                ways.append(make_way("fixed", model, squares, 2))
                found = measure(ways, min(options.steps, len(ways[0].plan)), options.rounds, decode=decode)
                results[f"{folder} {model} {'with' if decode else 'without'} decoding"] = found
                print(f"  {model}, decoding {'included' if decode else 'excluded'}:")
                for name, row in found.items():
                    ratios = sorted(row["ratios"])  # type: ignore[call-overload]
                    ratio = statistics.median(ratios)
                    verdict = "" if name == "fixed" else f"  {'met' if ratio >= TARGET else 'not met'} ({TARGET})"
                    print(
                        f"    {name:8} {row['mpx_per_s']:6.2f} real Mpx/s   {ratio:5.3f} of fixed "
                        f"({ratios[0]:.3f}..{ratios[-1]:.3f})   padding {row['padding']:5.1%}   "
                        f"first round {row['first_round_s']:5.1f} s{verdict}",
                        flush=True,
                    )
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
