"""The tables of a survey against loops, and which images are shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anysize.data.table import ImageTable
from anysize.doctor.data.overlays import choose_images, choose_pairs
from anysize.doctor.data.survey import Part, Survey
from anysize.doctor.data.tables import class_rows, label_values, size_bins, split_rows
from survey_toy import healthy, image_look, mask_look, names, pair, seen


def of_sizes(sizes: np.ndarray) -> Survey:
    count = len(sizes)
    table = ImageTable(Path("/data"), tuple(names("t", count)), None, sizes, np.full(count, 3, np.int8))
    return replace(healthy(), task="none", classes=(), parts=(Part(name="train", table=table),))


@pytest.mark.parametrize("seed", range(20))
def test_every_image_is_in_one_bin_of_sizes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    top = int(generator.choice([3, 40, 700, 60_000]))
    sizes = generator.integers(1, top, (int(generator.integers(2, 60)), 2))
    sizes[0] = sizes[1] + 1
    bins = size_bins(of_sizes(sizes))
    sides = [(height * width) ** 0.5 for height, width in sizes.tolist()]
    last = len(bins) - 1
    for number, item in enumerate(bins):
        inside = [side for side in sides if item.low <= side < item.high + (number == last)]
        assert item.num_images == len(inside)
    assert sum(item.num_images for item in bins) == len(sizes)
    assert 1 <= len(bins) <= 13
    assert bins[0].num_images
    assert bins[-1].num_images


def test_one_size_needs_no_bins() -> None:
    assert size_bins(of_sizes(np.full((7, 2), 40))) == []


def test_rows_of_splits() -> None:
    (row,) = split_rows(of_sizes(np.array([(10, 90), (20, 20), (30, 30), (20, 20)])))
    assert (row.num_images, row.smallest, row.largest, row.num_sizes) == (4, (20, 20), (10, 90), 3)
    assert row.megapixels == pytest.approx((900 + 400 + 900 + 400) / 1e6)


def test_rows_of_classes() -> None:
    rows = class_rows(healthy())
    assert [row.name for row in rows] == ["road", "car", "sky"]
    assert rows[1].counts == {"train": 16_000, "val": 9_600}
    assert rows[1].images == {"train": 20, "val": 12}
    assert rows[1].shares == {"train": pytest.approx(1 / 3), "val": pytest.approx(1 / 3)}


def test_values_of_all_masks_together() -> None:
    looks = [mask_look(values=((0, 5), (255, 7))), mask_look(values=((0, 1), (3, 2)))]
    survey = replace(healthy(), pairs=tuple(pair(number, look) for number, look in enumerate(looks)))
    assert label_values(survey) == [
        {"value": 0, "pixels": 6, "masks": 2},
        {"value": 3, "pixels": 2, "masks": 1},
        {"value": 255, "pixels": 7, "masks": 1},
    ]


@pytest.mark.parametrize("seed", range(10))
def test_the_rarest_classes_are_shown(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pairs = []
    for number in range(60):
        size = (int(generator.integers(20, 90)), 60)
        area = size[0] * size[1]
        rare = {7: 1, 31: 2}.get(number)  # two classes in one image each
        counts = np.array([area, 0, 0, 0])
        if rare:
            counts[0], counts[rare] = area - 9, 9
        pairs.append(replace(pair(number, mask_look(size=size)), image_size=size, counts=counts))
    shown = choose_pairs(pairs)
    assert len(shown) == len({item.row for item in shown}) == 12
    assert {7, 31} <= {item.row for item in shown}
    heights = [item.look.size[0] for item in pairs]
    assert shown[0].look.size[0] == min(heights)
    assert shown[-1].look.size[0] == max(heights)


def test_masks_of_another_size_are_shown_where_there_are_no_others() -> None:
    wrong = [replace(pair(number, mask_look(size=(9, 9)))) for number in range(3)]
    assert choose_pairs(wrong) == wrong
    (fitting,) = choose_pairs([*wrong, pair(3, mask_look())])
    assert fitting.row == 3


def test_each_class_is_shown() -> None:
    looks = [image_look(size=(20 + number, 30)) for number in range(50)]
    labels = [0] * 48 + [1, 2]
    shown = choose_images(seen(names("t", 50), looks), labels)
    assert len(shown) == 12
    assert {labels[item.row] for item in shown} == {0, 1, 2}
    assert choose_images(seen(names("t", 3), looks[:3]), labels[:3]) == list(seen(names("t", 3), looks[:3]))
