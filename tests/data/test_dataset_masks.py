"""Masks come with the size, the geometry and the labels that were promised."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data import Augmentation, ImageDataset, ImageTable
from anysize.data.draws import sixteen_bits
from anysize.data.masks import IGNORED, MaskCoding
from anysize.data.sampling import sampled_mask
from anysize.errors import DataError, UsageError

SIZES = [(40, 61), (1, 7), (90, 90), (33, 120)]
CODING = MaskCoding(num_classes=5, lookup=(*range(5), *[-1] * 250, 255))
STRONG = Augmentation(vflip=0.5, scale=(0.5, 2.0), aspect=(0.8, 1.25), crop=0.5, rotate=30)


def labels_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).choice(np.array([0, 1, 4, 255], np.uint8), SIZES[number])


def table_in(folder: Path, *, masks: bool = True) -> ImageTable:
    """Each image has 40 times its mask's label in every channel, but 255 where the mask has."""
    for number in range(len(SIZES)):
        labels = labels_of(number)
        pixels = np.where(labels == IGNORED, 255, labels.astype(int) * 40).astype(np.uint8)
        Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(folder / f"{number}.png")
        Image.fromarray(labels).save(folder / f"{number}_mask.png")
    return ImageTable(
        root=folder,
        paths=tuple(f"{number}.png" for number in range(len(SIZES))),
        labels=None,
        sizes=np.array(SIZES),
        channels=np.full(len(SIZES), 3, np.int8),
        masks=tuple(f"{number}_mask.png" for number in range(len(SIZES))) if masks else None,
    )


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    return table_in(tmp_path)


@pytest.mark.parametrize("max_side", [None, 64])
@pytest.mark.parametrize("augmentation", [None, STRONG, Augmentation(scale=(0.5, 2.0), crop_size=30)])
def test_masks_have_the_sizes_promised(
    table: ImageTable, augmentation: Augmentation | None, max_side: int | None
) -> None:
    limits = {"augmentation": augmentation, "max_side": max_side, "seed": 3}
    dataset = ImageDataset(table, 3, coding=CODING, **limits)
    twin = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
    for epoch in range(8):
        sizes = dataset.sizes(epoch)
        assert (sizes <= dataset.largest_sizes()).all()
        for index in reversed(range(len(dataset))):
            image, mask = dataset.load_pair(index, epoch)
            assert image.shape == (*sizes[index], 3)
            assert (mask.shape, mask.dtype) == (tuple(sizes[index]), np.uint8)
            assert set(np.unique(mask)) <= set(np.unique(labels_of(index)))
            assert np.array_equal(image, dataset.load(index, epoch))
            assert np.array_equal(mask, twin.load_mask(index, epoch))


def test_without_a_variation_each_pixel_has_its_label(table: ImageTable) -> None:
    for augmentation in (None, Augmentation(scale=(1.0, 1.0), crop=0.5, vflip=0.5, color_jitter=0)):
        dataset = ImageDataset(table, 3, coding=CODING, augmentation=augmentation)
        for index in range(len(dataset)):
            for epoch in range(5):
                image, mask = dataset.load_pair(index, epoch)
                assert np.array_equal(image[..., 0], np.where(mask == IGNORED, 255, mask.astype(int) * 40))


def test_a_native_mask_is_the_file_s_whatever_the_image_becomes(table: ImageTable) -> None:
    dataset = ImageDataset(table, 3, coding=CODING, augmentation=STRONG, max_side=20, sample_share=0.1)
    for index in range(len(dataset)):
        assert np.array_equal(dataset.load_mask(index, 3, native=True), labels_of(index))
        assert np.array_equal(dataset.native_mask(index), labels_of(index))


def test_a_mask_of_another_size_than_its_image_is_refused(table: ImageTable) -> None:
    image, mask = table.root / "0.png", table.root / "0_mask.png"
    dataset = ImageDataset(table, 3, coding=CODING)
    for size, hint in (
        ((20, 40), "their aspects differ too: check that the two belong together"),
        ((80, 122), "resize the mask to 40x61 by nearest neighbour: any other way makes new labels"),
        (
            (61, 40),
            "height and width are exchanged: the mask was transposed (np.transpose undoes it) or turned by a quarter "
            "(np.rot90), or the image has an EXIF orientation that whoever drew the mask did not see; no size shows "
            "which, so look at the two",
        ),
    ):
        Image.fromarray(np.zeros(size, np.uint8)).save(mask)
        for load in (dataset.load_mask, dataset.load_pair):
            with pytest.raises(DataError) as caught:
                load(0)
            assert str(caught.value) == (
                f"mask {mask} is {size[0]}x{size[1]} (height x width), and its image {image} 40x61: one size is "
                f"required\nhint: {hint}"
            )
    mask.unlink()
    with pytest.raises(DataError) as caught:
        dataset.load_mask(0)
    assert str(caught.value) == (
        f"mask {mask} of image {image} cannot be read: no such file\nhint: restore the file, or leave out the image"
    )


def test_without_masks_or_their_coding_there_are_none(tmp_path: Path) -> None:
    table = table_in(tmp_path, masks=False)
    for dataset, missing in (
        (ImageDataset(table, 3, coding=CODING), "no label masks"),
        (ImageDataset(table_in(tmp_path), 3), "label masks, but no coding of their values"),
    ):
        assert not dataset.has_masks
        assert not dataset.has_labels
        with pytest.raises(UsageError) as caught:
            dataset.load_mask(0)
        assert str(caught.value) == (
            f"the images of {tmp_path} came with {missing}\n"
            "hint: load them with the options of masks, and hand on the source's coding"
        )
    assert ImageDataset(table_in(tmp_path), 3, coding=CODING).has_masks


def test_sampled_targets_are_drawn_anew_in_each_epoch(table: ImageTable) -> None:
    dataset = ImageDataset(table, 3, coding=CODING, sample_share=0.3, seed=1)
    whole = labels_of(2)
    kept = []
    for epoch in range(40):
        mask = dataset.load_mask(2, epoch)
        assert np.array_equal(mask, ImageDataset(table, 3, coding=CODING, sample_share=0.3, seed=1).load_mask(2, epoch))
        assert ((mask == whole) | (mask == IGNORED)).all()
        kept.append((mask != IGNORED)[whole != IGNORED])
    shares = np.array(kept)
    assert abs(shares.mean() - 0.3) < 0.005
    # Each pixel by itself and in each epoch anew: binomial, and neighbours tell nothing of one another.
    assert abs(shares.sum(axis=0).var() - 40 * 0.21) < 0.5
    for lag in (1, 2, 3, 4, 90):
        assert abs(np.corrcoef(shares[:, lag:].ravel(), shares[:, :-lag].ravel())[0, 1]) < 0.01
    assert len({tuple(epoch) for epoch in kept}) == 40


def test_one_target_at_least_is_left() -> None:
    mask = np.full((9, 11), IGNORED, np.uint8)
    assert (sampled_mask(mask, 0.5, seed=0, epoch=0, index=0) == IGNORED).all()
    mask[4, 5], mask[1, 2] = 3, 1
    seen = set()
    for index in range(60):
        found = sampled_mask(mask, 1e-6, seed=0, epoch=0, index=index)
        places = np.argwhere(found != IGNORED).tolist()
        assert len(places) == 1
        seen.add(tuple(places[0]))
    assert seen == {(4, 5), (1, 2)}
    assert sampled_mask(mask, 1.0, seed=0, epoch=0, index=0) is mask
    assert mask[4, 5] == 3


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_out_of_its_range_is_refused(table: ImageTable, share: float) -> None:
    with pytest.raises(UsageError) as caught:
        ImageDataset(table, 3, sample_share=share)
    assert str(caught.value) == (
        f"sample_share is {share}; it must be above 0 and at most 1\nhint: sample_share=1 lets all pixels count"
    )


def test_coarse_draws_are_uniform_and_never_change() -> None:
    assert sixteen_bits(6, 7, 1, 2).tolist() == sixteen_bits(9, 7, 1, 2)[:6].tolist()
    assert sixteen_bits(5, 0, 0).tolist() == [48785, 14588, 30140, 9090, 31840]  # by hand, in Python's integers
    draws = sixteen_bits(200_001, 3, 4)
    assert (draws.dtype, draws.shape) == (np.uint16, (200_001,))
    counts = np.bincount(draws >> 8, minlength=256)
    assert abs(((counts - counts.mean()) ** 2 / counts.mean()).sum() - 255) < 100
    assert (draws != sixteen_bits(200_001, 3, 5)).mean() > 0.999
    assert sixteen_bits(0, 1).shape == (0,)
