"""Small images, made where they are needed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeImage = Callable[..., Path]


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Write a random image ``tmp_path / name`` of a size (height, width) and give its path."""

    def make(name: str, size: tuple[int, int] = (12, 17), mode: str = "RGB", seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        # What was written a moment ago is not remembered; each a little later than the one before, for a stamp is all
        # that shows a change.
        made = time.time_ns() - 3600 * 10**9
        os.utime(path, ns=(made, made))
        return path

    return make
