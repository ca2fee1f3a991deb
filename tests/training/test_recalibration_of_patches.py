"""A run on patches, with statistics taken anew over whole images that no step of it could hold."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from anysize.training import normalising
from anysize.training.run import train
from toy import QUIET, quick_segmenter, write_shapes


def test_whole_images_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = write_shapes(tmp_path / "voc", count=6, val=2, sides=(40, 48))
    sizes: list[tuple[int, ...]] = []
    for name in (shapes / "ImageSets" / "Segmentation" / "train.txt").read_text().split():
        for path in (shapes / "JPEGImages" / f"{name}.png", shapes / "SegmentationClass" / f"{name}.png"):
            with Image.open(path) as image:
                pixels = np.array(image)
            Image.fromarray(np.concatenate([pixels, pixels, pixels])).save(path)
            sizes.append(pixels.shape[:2])
    seen: list[tuple[int, int]] = []
    genuine = normalising.recalibrate

    def recalibrate(model: nn.Module, batches: Iterable[Any]) -> Any:
        given = list(batches)
        seen.extend(size for batch in given for size in batch.sizes)
        return genuine(model, given)

    monkeypatch.setattr(normalising, "recalibrate", recalibrate)
    limit = 48 * 48  # of a validation image; a training image has three times that
    config = quick_segmenter(
        shapes, tmp_path / "run", see="patches", patch_size=32, max_pixels=limit, batch_norm="recalibrate", epochs=1
    )
    run = train(config, console=QUIET).run
    assert (run / "weights" / "last.safetensors").is_file()
    assert sorted(seen) == sorted((3 * height, width) for height, width in sizes[::2])
