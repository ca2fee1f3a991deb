"""Small data sets with masks, written where they are needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteVoc = Callable[..., Path]


@pytest.fixture
def write_voc(tmp_path: Path) -> WriteVoc:
    """Write masks, name -> array (H, W) or (H, W, 3) or an image, as a VOC folder with images of their sizes."""

    def write(masks: dict[str, object], *, val: int = 1, names: str | None = None, suffix: str = ".png") -> Path:
        root = tmp_path / "data"
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name, mask in masks.items():
            image = mask if isinstance(mask, Image.Image) else Image.fromarray(np.asarray(mask))
            image.save(root / "SegmentationClass" / f"{name}{suffix}")
            Image.new("RGB", image.size, (90, 120, 30)).save(root / "JPEGImages" / f"{name}.png")
        listed = list(masks)
        (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(listed[: len(listed) - val]))
        if val:
            (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(listed[len(listed) - val :]))
        if names is not None:
            (root / "classes.txt").write_text("\n".join(names.split()))
        return root

    return write
