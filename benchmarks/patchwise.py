# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""Whole images, patches, and a sampled loss: how fast each learns (Long, Shelhamer and Darrell 2015, section 4.3).

For the same network, data, optimiser and pixels a step, three ways to see an image (``anysize train --see``):

* ``whole``: all outputs of whole images.
* ``patches``: random square crops, as many pixels an epoch as the images have.
* ``sampled``: whole images, and a quarter of each image's outputs in the loss: drawn at random, or the hardest.

GroupNorm stands for BatchNorm in all of them: patches come from more images than a step of whole ones has, and the
comparison would be one of batch statistics.

Long et al. found that whole images converge as fast per update as patches or a sampled loss, and faster in time, as no
pixel is computed twice or in vain. Each way trains the same number of epochs, in turn with the others, an epoch each,
so that a busy machine slows all of them alike; the mean IoU over the validation images is measured after each epoch at
native size, whatever was trained on, and the seconds are those of training alone.

    python benchmarks/patchwise.py DATA/isbi_em DATA/bridge_voc --epochs 12 4 --batch-size 4 2 --figure patchwise.png
"""

import argparse
import dataclasses
import json
import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from anysize import startup

STARTUP_NOTES = startup.apply(startup.StartupSettings())

import torch

import anysize
from anysize.console import Console
from anysize.inference.speed import describe_machine
from anysize.training import TrainConfig
from anysize.training.run import train

WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "patches": {"see": "patches"},
    "sampled, random": {"see": "sampled", "sample_by": "random"},
    "sampled, hardest": {"see": "sampled", "sample_by": "hardest"},
}


def config_of(data: Path, way: str, batch_size: int, options: argparse.Namespace, output: Path) -> TrainConfig:
    """Alike in all but the way to see an image, and the images of a step: so many that its pixels are alike."""
    changes = dict(WAYS[way])
    images = batch_size
    if changes.get("see") == "patches":
        images *= max(round(options.image_pixels[data.name] / options.patch_size**2), 1)
        changes["patch_size"] = options.patch_size
    return TrainConfig(
        data=data, output=output, model="deeplabv3plus", recipe="none", loss="ce", opt="adamw", lr=options.lr,
        model_kwargs=("encoder=resnet18", "encoder_width=0.5", "channels=64"), batch_size=images,
        epochs=1, patience=0, sched="constant", warmup_epochs=0.0, scale=(1.0, 1.0), crop=1.0,
        color_jitter=0.0, batch_norm="group", preflight=False, tensorboard=False,
        seed=options.seed, workers=options.workers, **changes,
    )  # fmt: skip


def run(data: Path, epochs: int, batch_size: int, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """The rows of metrics.csv of each way, the ways taking turns epoch by epoch."""
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(1, epochs + 1):
            for way in WAYS:
                run_folder = Path(folder) / way.replace(", ", "-")
                config = config_of(data, way, batch_size, options, run_folder)
                if epoch > 1:
                    config = dataclasses.replace(config, resume=run_folder, output=None, epochs=epoch)
                result = train(config, console=quiet)
                row = read_rows(result.run)[-1]
                rows[way].append({name: row[name] for name in ("epoch", "train_loss", "val_mean_iou", "seconds")})
                total = sum(one["seconds"] for one in rows[way])
                print(
                    f"{data.name:12} {way:17} epoch {epoch:3}  mean IoU {row['val_mean_iou']:.2%}  {total:7.1f} s",
                    flush=True,
                )
    return rows


def read_rows(run_folder: Path) -> list[dict[str, float]]:
    head, *lines = (run_folder / "metrics.csv").read_text().splitlines()
    return [dict(zip(head.split(","), map(float, line.split(",")), strict=True)) for line in lines]


def draw(results: dict[str, dict[str, list[dict[str, float]]]], path: Path) -> None:
    """Mean IoU against seconds of training, and against epochs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(results), 2, figsize=(11, 4 * len(results)), squeeze=False, layout="constrained")
    for line, (name, ways) in zip(axes, results.items(), strict=True):
        for way, rows in ways.items():
            seconds, spent = [], 0.0
            for row in rows:
                spent += row["seconds"]
                seconds.append(spent)
            scores = [100 * row["val_mean_iou"] for row in rows]
            line[0].plot(seconds, scores, marker="o", markersize=3, label=way)
            line[1].plot([row["epoch"] for row in rows], scores, marker="o", markersize=3, label=way)
        for axis, label in zip(line, ("seconds of training", "epochs (equal pixels in all ways)"), strict=True):
            axis.set_xlabel(label)
            axis.set_ylabel("mean IoU on validation images, %")
            axis.set_title(name)
            axis.grid(alpha=0.3)
        line[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, nargs="+", default=[12], help="of all data sets, or of each in turn")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[4], help="whole images a step; as --epochs")
    parser.add_argument("--patch-size", type=int, default=192)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    each: dict[str, list[int]] = {"--epochs": options.epochs, "--batch-size": options.batch_size}
    for flag, numbers in each.items():
        if len(numbers) not in (1, len(options.data)):
            parser.error(f"{flag} has {len(numbers)} numbers for {len(options.data)} data sets")
    torch.set_num_threads(options.threads)
    shown = [Path(argument).name if "/" in argument else argument for argument in sys.argv[1:]]
    header = {
        "command": f"python benchmarks/patchwise.py {shlex.join(shown)}",
        "machine": f"{describe_machine()}, {options.threads} threads, Python {platform.python_version()}",
        "versions": f"anysize {anysize.__version__}, torch {torch.__version__}",
    }
    for line in header.values():
        print(f"# {line}")
    options.image_pixels = {data.name: mean_pixels(data) for data in options.data}
    results = {}
    for place, data in enumerate(options.data):
        epochs, batch_size = (numbers[place % len(numbers)] for numbers in each.values())
        results[data.name] = run(data, epochs, batch_size, options)
        if options.output:
            options.output.write_text(json.dumps({**header, "results": results}, indent=1) + "\n")
        if options.figure:
            draw(results, options.figure)


def mean_pixels(data: Path) -> float:
    from anysize.data import DataOptions, load_data

    return float(load_data(data, DataOptions()).train.sizes.prod(axis=1).mean())


if __name__ == "__main__":
    main()
