"""A small data set that is learnt in seconds: stripes across or down, on images of many sizes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anysize.console import Console
from anysize.training import TrainConfig

CLASSES = ("across", "down")
QUIET = Console(quiet=True)


def write_stripes(
    root: Path,
    count: int = 20,
    seed: int = 0,
    sides: tuple[int, int] = (12, 40),
    classes: Sequence[str] = CLASSES,
) -> Path:
    """Write ``count`` images a class, a folder each: the first is striped across, the second down."""
    rng = np.random.default_rng(seed)
    for axis, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            height, width = rng.integers(sides[0], sides[1] + 1, 2)
            place = np.mgrid[:height, :width][axis]
            wave = 128 + 90 * np.sin(place * rng.uniform(1.0, 2.0) + rng.uniform(0, 6))
            pixels = np.clip(wave[..., None] + rng.normal(0, 10, (height, width, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


def quick(data: Path, output: Path | None, **changes: Any) -> TrainConfig:
    """Options for a run of some seconds that learns the stripes."""
    options: dict[str, Any] = {
        "model": "fcn_small",
        "model_kwargs": ("final_relu=false",),
        "lr": 0.01,
        "epochs": 3,
        "batch_size": 8,
        "workers": 0,
        "device": "cpu",
        "tensorboard": False,
    }
    return TrainConfig(data=data, output=output, **{**options, **changes})


def table_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv without what differs from one run to the next: the times."""
    timed = ("seconds", "images_per_s", "mpx_per_s", "wait_share")
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in timed} for row in csv.DictReader(file)]
