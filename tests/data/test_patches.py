"""Patches: an epoch has the pixels of the images, a grid every pixel, and rare classes their share."""

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data import Augmentation, ImageDataset, ImageTable
from anysize.data.masks import IGNORED, MaskCoding
from anysize.data.patches import PatchDataset, grid_boxes
from anysize.errors import UsageError

SIZES = [(150, 211), (30, 31), (64, 64), (1, 400), (97, 33)]
CODING = MaskCoding(num_classes=5, lookup=(*range(5), *[-1] * 250, 255))
COLORS_OFF = Augmentation(scale=(1.0, 1.0), crop=1.0, hflip=0, color_jitter=0)
STRONG = Augmentation(vflip=0.5, scale=(0.5, 2.0), aspect=(0.8, 1.25), rotate=30)


def place_image(size: tuple[int, int]) -> np.ndarray:
    """An image in which each pixel tells its row and column, in which image it stands by the third channel."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([y % 256, x % 256, (y // 256) * 16 + x // 256], axis=2).astype(np.uint8)


PLACES = place_image((200, 450))


def rare_mask(size: tuple[int, int]) -> np.ndarray:
    """Background 0, a large class 1, a border 255, and two or three pixels of class 4."""
    mask = np.zeros(size, np.uint8)
    mask[:, size[1] // 2 :] = 1
    mask[:, size[1] // 2] = IGNORED
    mask[size[0] // 3, size[1] // 5 : size[1] // 5 + 3] = 4
    return mask


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    for number, size in enumerate(SIZES):
        Image.fromarray(place_image(size)).save(tmp_path / f"{number}.png")
        Image.fromarray(rare_mask(size)).save(tmp_path / f"{number}_mask.png")
    table = ImageTable(
        root=tmp_path,
        paths=tuple(f"{number}.png" for number in range(len(SIZES))),
        labels=np.arange(len(SIZES)) % 2,
        sizes=np.array(SIZES),
        channels=np.full(len(SIZES), 3, np.int8),
        masks=tuple(f"{number}_mask.png" for number in range(len(SIZES))),
    )
    return ImageDataset(table, 3, coding=CODING, seed=4)


def with_augmentation(dataset: ImageDataset, augmentation: Augmentation | None, **changes: object) -> ImageDataset:
    options = {"max_side": dataset.max_side, "seed": dataset.seed, **changes}
    return ImageDataset(dataset.table, 3, coding=CODING, augmentation=augmentation, **options)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (64, 64), (65, 63), (1, 300), (200, 133), (129, 128)])
def test_a_grid_covers_every_pixel(size: tuple[int, int]) -> None:
    for patch in (1, 5, 64, 500):
        for overlap in {0, patch // 3, patch - 1}:
            if patch == 1 and size[0] * size[1] > 5000:
                continue
            boxes = grid_boxes(size, patch, overlap)
            seen = np.zeros(size, int)
            for top, left, height, width in boxes.tolist():
                assert (height, width) == (min(size[0], patch), min(size[1], patch))
                assert 0 <= top <= size[0] - height
                assert 0 <= left <= size[1] - width
                seen[top : top + height, left : left + width] += 1
            assert (seen >= 1).all()
            assert len({tuple(box) for box in boxes.tolist()}) == len(boxes)
            for axis in (0, 1):
                starts = np.unique(boxes[:, axis])
                assert (np.diff(starts) <= patch - overlap).all()
                # none that could be left out: the last but one does not reach the border
                if len(starts) > 1:
                    assert starts[-2] + patch < size[axis]
                    assert (np.diff(starts[:-1]) == patch - overlap).all()
            assert tuple(boxes[-1, :2] + boxes[-1, 2:]) == size


@pytest.mark.parametrize(("patch", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_a_grid_that_does_not_advance_is_refused(patch: int, overlap: int) -> None:
    with pytest.raises(UsageError) as caught:
        grid_boxes((9, 9), patch, overlap)
    assert caught.value.message == (
        f"patches of side {patch} with an overlap of {overlap}; needed: a side of at least 1 and an overlap of 0 to "
        "side - 1"
    )


@pytest.mark.parametrize("max_side", [None, 100])
@pytest.mark.parametrize("by", ["random", "class", "grid"])
@pytest.mark.parametrize("size", [1, 32, 64, 1000])
def test_an_epoch_has_the_pixels_of_its_images(dataset: ImageDataset, by: str, size: int, max_side: int | None) -> None:
    whole = with_augmentation(dataset, None, max_side=max_side)
    if size == 1 and by != "random":
        return
    patches = PatchDataset(whole, size=size, by=by)
    areas = whole.sizes().prod(axis=1)
    images = np.array([patches.image_of(index) for index in range(len(patches))])
    counts = np.bincount(images, minlength=len(SIZES))
    if by == "grid":
        assert counts.tolist() == [len(grid_boxes(tuple(pair), size)) for pair in whole.sizes().tolist()]
        return
    assert counts.tolist() == [max(1, round(area / size**2)) for area in areas.tolist()]
    assert (np.diff(images) >= 0).all()
    pixels = np.bincount(images, patches.sizes().prod(axis=1))
    large = (whole.sizes() >= size).all(axis=1)
    assert (np.abs(pixels - areas)[large] <= size**2 / 2).all()


@pytest.mark.parametrize("by", ["random", "class"])
@pytest.mark.parametrize("max_side", [None, 90])
def test_the_sizes_promised_are_loaded_in_any_order(dataset: ImageDataset, by: str, max_side: int | None) -> None:
    patches = PatchDataset(with_augmentation(dataset, STRONG, max_side=max_side), size=48, by=by)
    uncached = PatchDataset(with_augmentation(dataset, STRONG, max_side=max_side), size=48, by=by, cache_bytes=0)
    twin = pickle.loads(pickle.dumps(patches))  # noqa: S301 - our own bytes
    differ = 0
    for epoch in range(4):
        sizes = patches.sizes(epoch)
        assert (sizes <= patches.largest_sizes()).all()
        for index in np.random.default_rng(epoch).permutation(len(patches)).tolist():
            image, mask = patches.load_pair(index, epoch)
            assert image.shape == (*sizes[index], 3)
            assert mask.shape == tuple(sizes[index])
            assert set(np.unique(mask)) <= {0, 1, 4, IGNORED}
            assert np.array_equal(twin.load(index, epoch), image)
            assert np.array_equal(uncached.load_mask(index, epoch), mask)
            assert patches.path(index) == dataset.path(patches.image_of(index))
            assert patches.label(index) == patches.image_of(index) % 2
        differ += not np.array_equal(sizes, patches.sizes(epoch + 1))
    assert differ == 4


def box_of(image: np.ndarray) -> tuple[int, int, int, int]:
    """Where a patch of `place_image` was cut."""
    row, column, pages = image[0, 0].tolist()
    top, left = row + 256 * (pages // 16), column + 256 * (pages % 16)
    height, width = image.shape[:2]
    assert np.array_equal(image, PLACES[top : top + height, left : left + width])
    return top, left, height, width


@pytest.mark.parametrize("augmentation", [None, COLORS_OFF])
def test_patches_are_native_pixels_with_their_labels(dataset: ImageDataset, augmentation: Augmentation | None) -> None:
    for by in ("random", "class", "grid"):
        patches = PatchDataset(with_augmentation(dataset, augmentation), size=40, by=by)
        places: dict[int, set[tuple[int, int]]] = {}
        for epoch in range(3):
            for index in range(len(patches)):
                image, mask = patches.load_pair(index, epoch)
                top, left, height, width = box_of(image)
                number = patches.image_of(index)
                assert (height, width) == tuple(np.minimum(SIZES[number], 40))
                assert np.array_equal(mask, rare_mask(SIZES[number])[top : top + height, left : left + width])
                places.setdefault(number, set()).add((top, left))
        if by == "grid":
            boxes = {tuple(box) for box in grid_boxes(SIZES[0], 40)[:, :2].tolist()}
            assert places[0] == boxes
        else:
            assert len(places[0]) > 50
            assert places[1] == {(0, 0)}


def test_random_places_are_uniform(dataset: ImageDataset) -> None:
    patches = PatchDataset(with_augmentation(dataset, None), size=64)
    found = [box_of(patches.load(index, epoch))[:2] for epoch in range(90) for index in range(8)]
    corners = np.array(found) / [150 - 64, 211 - 64]
    np.testing.assert_allclose(corners.mean(axis=0), 0.5, atol=0.03)
    np.testing.assert_allclose(corners.std(axis=0), 1 / 12**0.5, atol=0.02)
    assert corners.min() == 0
    assert corners.max() == 1
    assert abs(np.corrcoef(corners.T)[0, 1]) < 0.08


def test_a_grid_with_a_limit_of_sides_covers_the_shrunk_image(dataset: ImageDataset) -> None:
    whole = with_augmentation(dataset, Augmentation(color_jitter=0, hflip=0).without_resampling(), max_side=100)
    patches = PatchDataset(whole, size=40, by="grid", overlap=10)
    plain = with_augmentation(dataset, None, max_side=100)
    for number in range(len(SIZES)):
        image, mask = plain.load_pair(number)
        boxes = grid_boxes(image.shape[:2], 40, 10).tolist()
        indices = [index for index in range(len(patches)) if patches.image_of(index) == number]
        for index, (top, left, height, width) in zip(indices, boxes, strict=True):
            found, labels = patches.load_pair(index, 7)
            assert found.shape[:2] == tuple(patches.sizes(7)[index]) == (height, width)
            assert np.abs(found.astype(int) - image[top : top + height, left : left + width]).max() <= 1
            assert np.array_equal(labels, mask[top : top + height, left : left + width])
    assert np.array_equal(patches.sizes(), patches.largest_sizes())


@pytest.mark.parametrize("augmentation", [None, STRONG])
def test_a_rare_class_gets_a_share_that_does_not_depend_on_its_area(
    dataset: ImageDataset, augmentation: Augmentation | None
) -> None:
    """Three pixels of 31,650, of one class of three: a third of the patches around a class shows them, and a few by
    chance."""
    whole = with_augmentation(dataset, augmentation)

    def seen(by: str, share: float) -> float:
        patches = PatchDataset(whole, size=32, by=by, class_share=share)
        of_first = np.count_nonzero(np.array([patches.image_of(i) for i in range(len(patches))]) == 0)
        hits = [(patches.load_mask(index, epoch) == 4).any() for epoch in range(12) for index in range(of_first)]
        assert len(hits) > 300
        return float(np.mean(hits))

    by_chance = seen("random", 1.0)
    around = seen("class", 1.0)
    third = seen("class", 1 / 3)
    assert by_chance < 0.12
    assert around > 0.30
    assert third == pytest.approx(by_chance + (around - by_chance) / 3, abs=0.06)
    assert seen("class", 0.0) == by_chance


def test_every_class_is_drawn_alike(dataset: ImageDataset) -> None:
    """Patches of one pixel are of the class that was drawn."""
    patches = PatchDataset(with_augmentation(dataset, None), size=1, by="class", class_share=1.0)
    labels = [int(patches.load_mask(index, 0)[0, 0]) for index in range(2000)]
    assert IGNORED not in labels
    np.testing.assert_allclose(np.bincount(labels)[[0, 1, 4]] / 2000, 1 / 3, atol=0.04)


def test_images_without_a_counted_pixel_give_random_patches(dataset: ImageDataset) -> None:
    Image.fromarray(np.full(SIZES[0], IGNORED, np.uint8)).save(dataset.table.root / "0_mask.png")
    patches = PatchDataset(dataset, size=64, by="class", class_share=1.0)
    plain = PatchDataset(dataset, size=64)
    for index in range(5):
        assert np.array_equal(patches.load(index), plain.load(index))


def test_the_same_patches_in_another_process(dataset: ImageDataset, tmp_path: Path) -> None:
    patches = PatchDataset(with_augmentation(dataset, STRONG), size=48, by="class")
    (tmp_path / "patches.pickle").write_bytes(pickle.dumps(patches))
    code = (
        "import hashlib, pickle, sys\n"
        "patches = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for i in (9, 2, 5): print(hashlib.sha256(b''.join(p.tobytes() for p in patches.load_pair(i, 3))).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "patches.pickle")], capture_output=True, text=True, check=True
    )
    for index, found in zip((9, 2, 5), done.stdout.split(), strict=True):
        assert hashlib.sha256(b"".join(p.tobytes() for p in patches.load_pair(index, 3))).hexdigest() == found


def test_what_is_kept_is_not_changed_by_who_gets_it(dataset: ImageDataset) -> None:
    patches = PatchDataset(with_augmentation(dataset, None), size=1000)
    for _ in range(2):
        image, mask = patches.load_pair(0)
        assert np.array_equal(image, place_image(SIZES[0]))
        assert np.array_equal(mask, rare_mask(SIZES[0]))
        image[:], mask[:] = 0, 0


def test_images_are_decoded_once_while_they_fit(dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    native = ImageDataset.native_image
    monkeypatch.setattr(ImageDataset, "native_image", lambda self, n: (decoded.append(n), native(self, n))[1])
    num_bytes = 4 * sum(height * width for height, width in SIZES)
    for limit, wanted in ((num_bytes, 1.0), (0, 0)):
        patches = PatchDataset(dataset, size=40, cache_bytes=limit)
        decoded.clear()
        for index in np.random.default_rng(0).permutation(len(patches)).tolist():
            patches.load_pair(index)
        once = len(decoded) / len(set(decoded))
        assert once == 1 if wanted else once > 2
        assert len(set(decoded)) == len(SIZES)


def test_sampling_and_classes_go_on(dataset: ImageDataset) -> None:
    whole = with_augmentation(dataset, COLORS_OFF, sample_share=0.25)
    patches, full = PatchDataset(whole, size=64), PatchDataset(with_augmentation(dataset, COLORS_OFF), size=64)
    left, right = patches.load_mask(0, 2), full.load_mask(0, 2)
    assert ((left == right) | (left == IGNORED)).all()
    assert (left != IGNORED).sum() / (right != IGNORED).sum() == pytest.approx(0.25, abs=0.03)
    assert patches.has_labels
    assert patches.has_masks
    assert not PatchDataset(ImageDataset(replace(dataset.table, labels=None), 3), size=9).has_labels


def test_what_does_not_go_together_is_refused(dataset: ImageDataset) -> None:
    def refusal(whole: ImageDataset, **options: object) -> str:
        with pytest.raises(UsageError) as caught:
            PatchDataset(whole, **options)
        return str(caught.value)

    assert refusal(dataset, size=9, by="row") == (
        "patches by 'row'; they are drawn by random, class or grid\nhint: by='random'"
    )
    assert refusal(dataset, size=9, overlap=3) == (
        "patches by random have no overlap to set; it is 3\nhint: by='grid' has, or overlap=0"
    )
    assert refusal(with_augmentation(dataset, None, smallest_side=33), size=32) == (
        "patches of 32 pixels a side; the network needs 33 at least\nhint: a patch size of 33 or more"
    )
    assert refusal(dataset, size=9, by="class", class_share=2) == (
        "class_share is 2; it must be 0 to 1\nhint: 0.33 lays a third around classes"
    )
    assert refusal(ImageDataset(dataset.table, 3), size=9, by="class") == (
        f"patches by class need masks, and the images of {dataset.table.root} have none\nhint: by='random'"
    )
    assert refusal(with_augmentation(dataset, Augmentation(crop_size=20)), size=9) == (
        "crop_size is 20, and patches of 9 pixels are windows already\nhint: crop_size=None"
    )
    assert refusal(with_augmentation(dataset, Augmentation()), size=9, by="grid") == (
        "a grid of patches covers each image at its own scale; the augmentation varies scale, aspect or angle\n"
        "hint: scale=(1.0, 1.0), aspect=(1.0, 1.0) and rotate=0, or by='random'"
    )
