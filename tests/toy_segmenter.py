"""A segmenter without training, and small data sets with masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from anysize.data.masks import default_palette
from anysize.models import ModelCard, create_model, save_model

CLASSES = ("sky", "road", "car")
SIZES = ((33, 47), (64, 40), (25, 25), (51, 70), (40, 64), (33, 48), (70, 31))
MEAN, STD = 120.0, 60.0


def save_segmenter(path: Path, classes: Sequence[str] = CLASSES, **card: Any) -> Path:
    """Write a small DeepLab v3+ with random parameters and its card; the answers vary over an image."""
    torch.manual_seed(1)  # every class is the answer somewhere
    options = {"encoder": "resnet18", "encoder_width": 0.125}
    model = create_model("deeplabv3plus", num_classes=len(classes), in_channels=3, **options)
    values: dict[str, Any] = {
        "model": "deeplabv3plus",
        "classes": tuple(classes),
        "in_channels": 3,
        "mean": (MEAN,) * 3,
        "std": (STD,) * 3,
        "smallest_side": 1,
        "model_kwargs": options,
        "palette": default_palette(len(classes)),
    }
    save_model(path, model, ModelCard(**{**values, **card}))
    return path


def random_image(random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth blobs of colour with noise: uint8 (H, W, 3)."""
    height, width = size
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    blobs = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.clip(blobs + random.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def write_pairs(
    root: Path,
    sizes: Sequence[tuple[int, int]] = SIZES,
    values: Sequence[int] = (0, 1, 2, 255),
    names: Sequence[str] | None = CLASSES,
    seed: int = 0,
) -> Path:
    """Write images/NN.png and masks/NN.png, blocks of ``values`` at random, and the names of the classes."""
    random = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(random_image(random, (height, width))).save(root / "images" / f"{number:02d}.png")
        blocks = random.choice(np.array(values, np.uint8), (height // 8 + 1, width // 8 + 1))
        mask = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        mask.reshape(-1)[: len(values)] = values  # every value is in every mask
        Image.fromarray(np.ascontiguousarray(mask)).save(root / "masks" / f"{number:02d}.png")
    if names is not None:
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def alone(model: torch.nn.Module, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The logits (K, H, W) of one image (H, W, 3) by itself, without any of the program's batching."""
    pixels = torch.from_numpy((image.astype(np.float32) - MEAN) / STD).permute(2, 0, 1)
    with torch.no_grad():
        return np.asarray(model.eval()(pixels[None].float())[0].double())


def clear(logits: NDArray[np.float64], margin: float = 1e-3) -> NDArray[np.bool_]:
    """(H, W): where the most probable class is not nearly a draw, which rounding may decide either way."""
    first, second = np.sort(logits, axis=0)[-1], np.sort(logits, axis=0)[-2]
    return np.asarray(first - second > margin)


def bilinear(logits: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """(K, h, w) to (K, H, W) with half-pixel centres, in plain NumPy."""
    for axis, length in ((1, size[0]), (2, size[1])):
        old = logits.shape[axis]
        place = ((np.arange(length) + 0.5) * old / length - 0.5).clip(0, old - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (place - low).reshape([-1 if each == axis else 1 for each in range(3)])
        logits = logits.take(low, axis) * (1 - share) + logits.take(high, axis) * share
    return logits
