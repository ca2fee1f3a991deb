"""Image sizes to plan with: three synthetic collections of any number of images, and real ones.

The synthetic ones are pure functions of the number of images and a seed:

* `voc_like`: the long side is mostly 500 and most images are 500x375, as in PASCAL VOC (Everingham et al. 2010). The
  shares of the kinds are rounded; random batches of 32 padded to their largest waste 28 %.
* `imagenet_like`: the photo sharing sites of that time (500 pixels on the long side) for half of them, then a
  log-normal bulk, then a heavy tail, as in ImageNet (Russakovsky et al. 2015; about 400x350 on average, a few above
  2,000). Random batches of 32 waste 87 %: the tail is what they are padded to.
* `heterogeneous`: nothing is typical. The long side is log-uniform in 128..2048, height over width in 0.4..2.5.
  Random batches of 32 waste 84 %.

None of them was fitted to what a planner does well. The real ones lie in a folder beside the repository, or where
the environment variable ANYSIZE_TEST_DATA says; nothing but the headers is read.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anysize.data.images import read_header

Sizes = npt.NDArray[np.int64]
"""(N, 2) heights and widths in pixels."""


def voc_like(num_images: int, seed: int = 0) -> Sizes:
    """Long side 500, mostly 500x375."""
    random = np.random.default_rng(seed)
    kind = random.choice(7, size=num_images, p=[0.42, 0.13, 0.14, 0.04, 0.17, 0.04, 0.06])
    short = _whole(random.normal(365, 45, num_images), 150, 500)
    small_long = _whole(random.normal(420, 70, num_images), 180, 499)
    small_short = _whole(small_long * random.uniform(0.55, 1, num_images), 140, 499)
    heights = np.choose(kind, [375, 500, 333, 500, short, 500, small_short])
    widths = np.choose(kind, [500, 375, 500, 333, 500, short, small_long])
    return np.stack([heights, widths], axis=1)


def imagenet_like(num_images: int, seed: int = 0) -> Sizes:
    """Half as `voc_like`, a log-normal bulk around 400 pixels, and 1.8 % with a long side of 900 to 3,000."""
    random = np.random.default_rng(seed)
    kind = random.choice(3, size=num_images, p=[0.55, 0.432, 0.018])
    bulk = np.exp(random.normal(np.log(400), 0.45, num_images))
    tail = _log_uniform(random, 900, 3000, num_images)
    aspect = np.exp(random.normal(np.log(0.78), 0.22, num_images))  # height over width
    is_turned = random.random(num_images) < 0.25
    drawn = _whole(_box(np.where(kind == 2, tail, bulk), np.where(is_turned, 1 / aspect, aspect)), 32, 4000)
    return np.where((kind == 0)[:, None], voc_like(num_images, seed + 1), drawn)


def heterogeneous(num_images: int, seed: int = 0) -> Sizes:
    """Long side log-uniform in 128..2048, height over width log-uniform in 0.4..2.5."""
    random = np.random.default_rng(seed)
    long_sides = _log_uniform(random, 128, 2048, num_images)
    return _whole(_box(long_sides, _log_uniform(random, 0.4, 2.5, num_images)), 1, 2048)


SYNTHETIC: dict[str, Callable[[int, int], Sizes]] = {
    "voc_like": voc_like,
    "imagenet_like": imagenet_like,
    "heterogeneous": heterogeneous,
}

REAL = {
    "photos": "images/*",
    "cats_dogs": "*/*/*",
    "bridge_voc": "JPEGImages/*",
    "water_voc": "JPEGImages/*",
}
"""Folder of each real collection, and where in it the images are."""


def data_folder() -> Path:
    """Where the real collections are."""
    named = os.environ.get("ANYSIZE_TEST_DATA")
    return Path(named) if named else Path(__file__).parents[2] / "shared" / "data"


def real_sizes(name: str) -> Sizes | None:
    """Sizes of a real collection, as its images are turned by EXIF; None where the folder is missing."""
    folder = data_folder() / name
    if not folder.is_dir():
        return None
    headers = [read_header(path) for path in sorted(folder.glob(REAL[name])) if path.is_file()]
    return np.array([(header.height, header.width) for header in headers], dtype=np.int64)


def _whole(lengths: npt.NDArray[np.float64], least: int, most: int) -> Sizes:
    return np.clip(np.rint(lengths), least, most).astype(np.int64)


def _log_uniform(random: np.random.Generator, low: float, high: float, count: int) -> npt.NDArray[np.float64]:
    return np.exp(random.uniform(np.log(low), np.log(high), count))


def _box(long_sides: npt.NDArray[np.float64], aspects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 2) height and width from the longer side and height over width."""
    return np.stack([long_sides * np.minimum(aspects, 1), long_sides / np.maximum(aspects, 1)], axis=1)
