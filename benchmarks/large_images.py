# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""Few very large images, trained whole: what it takes in memory and time.

Claim: 30 images of 512x512, and 12 of 20 megapixels (5120x3840, as cameras make them), train at their native size in
one process on a CPU, with ``--max-pixels auto`` and no other thought given to memory.

The images are made here: two classes of coarse stripes, across or down, under noise. Each set trains for one epoch
through ``anysize.train`` in a process of its own, which reports the highest resident memory of the whole process (as
the kernel has it, ``VmHWM``) beside what ``auto`` had measured and allowed. ``--budget-gib`` lowers what ``auto``
believes to be available, as a smaller machine would: that is how a machine with enough memory shows what happens when
there is little.

    python benchmarks/large_images.py
    python benchmarks/large_images.py --sets large --budget-gib 4 --model resnet9 --model-kwargs width=8
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from anysize import startup

startup.apply(startup.StartupSettings())

import numpy as np
import torch
from PIL import Image

import anysize
from anysize.memory import limit as memory_limit
from anysize.training import TrainConfig

SETS = {"few": (30, 512, 512), "large": (12, 5120, 3840)}
GIB = 2**30


def write_images(root: Path, count: int, height: int, width: int) -> int:
    """Write ``count`` JPEG files in two classes, a third of them to validate on; returns their megapixels."""
    rng = np.random.default_rng(0)
    for number in range(count):
        label = ("across", "down")[number % 2]
        part = "val" if number >= count * 2 // 3 else "train"
        place = np.arange(height)[:, None] if label == "across" else np.arange(width)[None, :]
        wave = 128 + 60 * np.sin(place / rng.uniform(3, 9) + rng.uniform(0, 6))
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        for channel in range(3):
            noise = rng.integers(-40, 41, (height, width), dtype=np.int16)
            pixels[:, :, channel] = np.clip(wave.astype(np.int16) + noise, 0, 255)
        folder = root / part / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:02d}.jpg", quality=90)
    return round(count * height * width / 1e6)


def highest_gib() -> float:
    """The highest resident memory of this process so far."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / GIB


def train_one(data: Path, options: argparse.Namespace) -> None:
    """Train one epoch on ``data`` and say what it took."""
    if options.budget_gib is not None:
        memory_limit.available_bytes = lambda _: int(options.budget_gib * GIB)
    started = time.perf_counter()
    result = anysize.train(
        TrainConfig(
            data=data,
            output=data.parent / "run",
            model=options.model,
            model_kwargs=tuple(options.model_kwargs),
            max_pixels="auto",
            checkpointing=options.checkpointing,
            epochs=1,
            batch_size=options.batch_size,
            scale=(1.0, 1.0),
            crop=1.0,
            workers=1,
            tensorboard=False,
            device="cpu",
        )
    )
    seconds = time.perf_counter() - started
    print(
        f"  one epoch: loss {result.best['train_loss']:.3f}, {result.best['mpx_per_s']:.2f} Mpx/s; {seconds:.0f} s in "
        f"all with start and validation; highest resident memory {highest_gib():.2f} GiB"
    )


def main() -> None:
    """Make the images and train on each set in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--model", default="fcn_small")
    parser.add_argument("--model-kwargs", nargs="+", default=[])
    parser.add_argument("--checkpointing", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--budget-gib", type=float)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        train_one(options.train, options)
        return
    print(f"# {os.uname().machine}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    print(f"# benchmarks/large_images.py {' '.join(sys.argv[1:])}", flush=True)
    for name in options.sets:
        count, height, width = SETS[name]
        with tempfile.TemporaryDirectory() as folder:
            megapixels = write_images(Path(folder) / "images", count, height, width)
            network = " ".join([options.model, *options.model_kwargs])
            print(f"{name}: {count} images of {height}x{width}, {megapixels} Mpx, {network}", flush=True)
            command = [sys.executable, __file__, "--train", str(Path(folder) / "images"), *sys.argv[1:]]
            subprocess.run(command, check=True, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    main()
