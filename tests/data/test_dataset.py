"""The data set gives exactly the sizes that it promised, in any process."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from anysize.data.augment import Augmentation
from anysize.data.cache import default_cache_path
from anysize.data.dataset import ImageDataset
from anysize.data.images import read_image
from anysize.data.source import DataOptions, load_data
from anysize.errors import DataError, UsageError
from anysize.sizes.start_size import StartSize


@pytest.fixture
def table(make_image, tmp_path: Path):
    for n, size in enumerate([(40, 61), (1, 7), (90, 90), (33, 200)]):
        make_image(f"data/{'ab'[n % 2]}/{n}.png", size, seed=n)
    return load_data(tmp_path / "data", DataOptions(val_split=0)).train


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("max_side", [None, 64])
def test_the_sizes_promised_are_loaded(table, channels: int, max_side: int | None) -> None:
    dataset = ImageDataset(
        table,
        channels,
        augmentation=Augmentation(vflip=0.5),
        max_side=max_side,
        smallest_side=20,
        seed=7,
    )
    twin = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
    different = 0
    for epoch in range(10):
        sizes = dataset.sizes(epoch)
        for index in reversed(range(len(dataset))):
            image = dataset.load(index, epoch)
            assert image.shape == (*sizes[index], channels)
            assert image.dtype == np.uint8
            assert np.array_equal(image, twin.load(index, epoch))
        different += not np.array_equal(sizes, dataset.sizes(epoch + 1))
    assert different == 10


@pytest.mark.parametrize("max_side", [None, 16])
@pytest.mark.parametrize("augmentation", [None, Augmentation(scale=(0.5, 2), crop=0.7)])
def test_the_first_epochs_have_smaller_images(table, max_side: int | None, augmentation: Augmentation | None) -> None:
    """An epoch has the pixels of a data set that has its limit in all of them."""
    grown = ImageDataset(table, 3, augmentation=augmentation, max_side=max_side, start=StartSize(10, 2), seed=5)
    small, full = (ImageDataset(table, 3, augmentation=augmentation, max_side=side, seed=5) for side in (10, max_side))
    assert (small.sizes(0) != full.sizes(0)).any()
    for epoch in range(4):
        same = small if epoch < 2 else full
        np.testing.assert_array_equal(grown.sizes(epoch), same.sizes(epoch))
        for index in range(len(table)):
            np.testing.assert_array_equal(grown.load(index, epoch), same.load(index, epoch))
    np.testing.assert_array_equal(grown.largest_sizes(), full.largest_sizes())


@pytest.mark.parametrize(("side", "epochs"), [(0, 1), (8, 0)])
def test_a_start_of_nothing_is_refused(side: int, epochs: int) -> None:
    with pytest.raises(UsageError, match="both must be 1 at least"):
        StartSize(side, epochs)


def test_without_augmentation_the_pixels_are_the_files(table) -> None:
    dataset = ImageDataset(table, 3)
    assert np.array_equal(dataset.sizes(), table.sizes)
    for index in range(4):
        assert np.array_equal(dataset.load(index), read_image(dataset.path(index), 3))
        assert dataset.label(index) == (dataset.path(index).parent.name == "b")


def test_colors_vary_from_epoch_to_epoch_and_image_to_image(table) -> None:
    colors = Augmentation(hflip=0, scale=(1.0, 1.0), crop=1.0, color_jitter=0.5)
    dataset, plain = ImageDataset(table, 3, augmentation=colors), ImageDataset(table, 3)
    factors = {
        round(float(dataset.load(index, epoch).mean() / plain.load(index).mean()), 4)
        for index in range(4)
        for epoch in range(3)
    }
    assert len(factors) == 12


def test_a_file_that_changes_after_the_scan_is_named(table, make_image, tmp_path: Path) -> None:
    dataset = ImageDataset(table, 3)
    path = make_image("data/a/0.png", (5, 6))
    with pytest.raises(DataError) as caught:
        dataset.load(0)
    assert str(caught.value) == (
        f"image {path} is 5x6 (height x width); it was 40x61 when the folder was scanned, "
        "and the plan rests on that\n"
        "hint: do not change images during a run; start again: the folder is then scanned anew; if this comes back, "
        f"the file was changed without its time of modification: touch {path}, or delete {default_cache_path()}"
    )
    path.unlink()
    with pytest.raises(DataError) as caught:
        dataset.load(0)
    assert str(caught.value) == (
        f"image {path} could be opened by the scan, and cannot be read now: no such file\n"
        "hint: restore the file, or start again: the folder is then scanned anew"
    )


def test_wrong_arguments_are_refused_at_once(table, make_image, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^channels is 4; images are read with 1 \(grey\) or 3 \(RGB\)\nhint"):
        ImageDataset(table, 4)
    with pytest.raises(UsageError, match="smallest_side is 33 and max_side 10"):
        ImageDataset(table, 3, max_side=10, smallest_side=33)
    make_image("flat/1.png")
    flat = ImageDataset(load_data(tmp_path / "flat", DataOptions()).train, 3)
    with pytest.raises(UsageError, match="have no labels\nhint: sort them into a folder for each class"):
        flat.label(0)
