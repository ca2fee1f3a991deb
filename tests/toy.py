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
        "batch_norm": "train",
        "workers": 0,
        "device": "cpu",
        "tensorboard": False,
    }
    return TrainConfig(data=data, output=output, **{**options, **changes})


def table_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv without what differs from one run to the next: the times."""
    timed = ("seconds", "val_seconds", "images_per_s", "mpx_per_s", "wait_share")
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in timed} for row in csv.DictReader(file)]


SHAPES = ("ground", "disc", "bar")


def write_shapes(root: Path, count: int = 12, seed: int = 0, sides: tuple[int, int] = (32, 72), val: int = 4) -> Path:
    """Write a VOC folder of ``count`` images with masks: red discs, green bars on grey noise, 255 at their borders."""
    rng = np.random.default_rng(seed)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{number:02d}" for number in range(count)]
    for name in names:
        height, width = rng.integers(sides[0], sides[1] + 1, 2)
        pixels = rng.normal(90, 12, (height, width, 3))
        mask = np.zeros((height, width), np.uint8)
        y, x = np.mgrid[:height, :width]
        row, column, radius = rng.uniform(0.3, 0.7) * height, rng.uniform(0.2, 0.8) * width, min(height, width) / 4
        distance = np.hypot(y - row, x - column)
        top = int(rng.integers(0, height - 8))
        for label, inside in ((2, (y >= top) & (y < top + 7)), (1, distance < radius)):
            mask[inside] = label
            pixels[inside, label - 1] += 90
        mask[np.abs(distance - radius) < 1] = 255
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / "JPEGImages" / f"{name}.png")
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
    for part, chosen in (("train", names[val:]), ("val", names[:val])):
        (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(chosen) + "\n")
    (root / "classes.txt").write_text("\n".join(SHAPES) + "\n")
    return root


def quick_segmenter(data: Path, output: Path | None, **changes: Any) -> TrainConfig:
    """Options for a run of some seconds that learns the shapes."""
    options: dict[str, Any] = {
        "model": "unet",
        "model_kwargs": ("encoder_width=0.25", "channels=[16,16,8,8,8]"),
        "recipe": "none",
        "lr": 0.01,
        "epochs": 6,
        "batch_size": 4,
        "scale": (1.0, 1.0),
        "batch_norm": "train",
        "workers": 0,
        "device": "cpu",
        "tensorboard": False,
    }
    return TrainConfig(data=data, output=output, **{**options, **changes})
