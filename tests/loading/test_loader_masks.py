"""The loader gives pairs where there are masks, of whole images and of patches, with and without workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anysize.batching import plan_epoch
from anysize.data import Augmentation, ImageDataset, ImageTable
from anysize.data.masks import IGNORED, MaskCoding
from anysize.data.patches import PatchDataset
from anysize.errors import DataError
from anysize.loading import PlanLoader, waiting_bytes
from anysize.ragged import RaggedBatch

CODING = MaskCoding(num_classes=3, lookup=(0, 1, 2, *[-1] * 252, 255))
AUGMENTATION = Augmentation(vflip=0.5, scale=(0.5, 2.0), rotate=20)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ImageTable:
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 90, (9, 2))
    for number, size in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(rng.choice(np.array([0, 1, 2, 255], np.uint8), size)).save(folder / f"m{number}.png")
    names = [f"{number}.png" for number in range(9)]
    return ImageTable(
        root=folder,
        paths=tuple(names),
        labels=np.zeros(9, np.int64),
        sizes=sizes,
        channels=np.full(9, 3, np.int8),
        masks=tuple(f"m{name}" for name in names),
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("by", [None, "random", "class"])
def test_pairs_are_those_of_the_data_set(table: ImageTable, by: str | None, workers: int) -> None:
    samples: ImageDataset | PatchDataset
    samples = ImageDataset(table, 3, coding=CODING, augmentation=AUGMENTATION, seed=2, sample_share=0.8)
    if by is not None:
        samples = PatchDataset(samples, size=24, by=by)
    loader = PlanLoader(samples, workers=workers)
    seen = 0
    for epoch in (0, 3):
        plan = plan_epoch(samples.sizes(epoch), 5, max_pixels=30_000, mixing="mixed", launch_pixels=500, epoch=epoch)
        for step in loader.steps(plan, epoch=epoch):
            for raw in step:
                labels = raw.labels(torch.device("cpu"))
                assert isinstance(labels, RaggedBatch)
                assert raw.targets is not None
                for place, (index, found) in enumerate(zip(raw.indices, labels.unbind(), strict=True)):
                    image, mask = samples.load_pair(index, epoch)
                    height, width = raw.sizes[place]
                    assert np.array_equal(raw.canvas[place, :, :height, :width].permute(1, 2, 0), image)
                    assert np.array_equal(found, mask)
                    around = raw.targets[place].clone()
                    around[:height, :width] = IGNORED
                    assert (around == IGNORED).all()
                    seen += 1
    assert seen == 2 * len(samples)


def test_without_a_coding_the_classes_of_images_are_the_targets(table: ImageTable) -> None:
    dataset = ImageDataset(table, 3)
    (raw, *_), *_ = (list(step) for step in PlanLoader(dataset, workers=0).steps(plan_epoch(dataset.sizes(), 9)))
    assert raw.targets is not None
    assert raw.targets.tolist() == [0] * len(raw.indices)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mask_that_cannot_be_read_is_named(table: ImageTable, tmp_path: Path, workers: int) -> None:
    for name in (*table.paths, *(table.masks or ())):
        (tmp_path / name).write_bytes((table.root / name).read_bytes())
    moved = ImageTable(tmp_path, table.paths, None, table.sizes, table.channels, masks=table.masks)
    (tmp_path / "m4.png").unlink()
    dataset = ImageDataset(moved, 3, coding=CODING)
    step = next(PlanLoader(dataset, workers=workers).steps(plan_epoch(dataset.sizes(), 9)))
    with pytest.raises(DataError, match=r"m4\.png of image .*4\.png cannot be read: no such file"):
        list(step)


def test_masks_are_a_channel_more_that_waits() -> None:
    assert waiting_bytes(3, 2) == 3 * 6
    assert waiting_bytes(3, 2, masks=True) == 4 * 6
