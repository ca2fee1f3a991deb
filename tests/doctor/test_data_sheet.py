"""The sheet is there where it is needed most: masks that cannot be read as classes are drawn as they are."""

from pathlib import Path

import numpy as np
from PIL import Image

from anysize.data.masks.coding import MaskCoding, index_coding
from anysize.doctor.data.overlays import MOST_SHOWN, choose_pairs
from anysize.doctor.data.raw_masks import MARK, RawColors
from survey_toy import mask_look, pair

CAP = 10**6
CODING = index_coding({0: 0, 1: 1, 255: 255}, 2)
PALETTE = ((0, 0, 0), (128, 0, 0))


def colors_of(colors: RawColors, mask: np.ndarray) -> np.ndarray:
    """What is drawn, (H, W, 3)."""
    return np.array(colors.palette, np.uint8)[mask]


def test_values_that_name_no_class_are_marked(tmp_path: Path) -> None:
    values = np.array([[0, 1, 9], [255, 77, 1]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    colors = RawColors(("road", "car"), PALETTE)
    mask = colors.read(tmp_path / "a.png", CODING, max_image_pixels=CAP)
    assert mask.tolist() == [[0, 1, 2], [255, 2, 1]]
    assert (colors.classes, colors.palette) == (["road", "car", "no class"], [*PALETTE, MARK])
    Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "deep.png")
    assert colors.read(tmp_path / "deep.png", CODING, max_image_pixels=CAP).tolist() == [[0, 2]]


def test_masks_in_colour_keep_their_colours(tmp_path: Path) -> None:
    known = MaskCoding(num_classes=2, lookup=(-1,) * 256, colors=(((0, 0, 0), 0), ((128, 0, 0), 1), ((9, 9, 9), 255)))
    pixels = np.array([[[0, 0, 0], [128, 0, 0], [1, 2, 3]], [[9, 9, 9], [200, 9, 0], [1, 2, 3]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    plain = RawColors(("class 0",), PALETTE[:1])
    mask = plain.read(tmp_path / "a.png", index_coding({0: 0}, 1), max_image_pixels=CAP)
    np.testing.assert_array_equal(colors_of(plain, mask), pixels)
    named = RawColors(("road", "car"), PALETTE)
    mask = named.read(tmp_path / "a.png", known, max_image_pixels=CAP)
    assert mask[1, 0] == 255
    np.testing.assert_array_equal(colors_of(named, mask[:1]), pixels[:1])
    assert set(named.classes) == {"road", "car", "#010203", "#c80900"}


def test_a_photograph_is_no_endless_legend(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    pixels[:9] = (7, 8, 9)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for count in (2, 240, 255):
        colors = RawColors(tuple(map(str, range(count))), ((0, 0, 0),) * count)
        mask = colors.read(tmp_path / "a.png", CODING, max_image_pixels=CAP)
        assert len(colors.classes) == len(colors.palette) <= min(count + 33, 255)
        drawn = mask[mask != 255]
        assert not len(drawn) or drawn.max() < len(colors.palette)
        if count < 255:
            assert "other colours" in colors.classes
            np.testing.assert_array_equal(colors_of(colors, mask[:9]), pixels[:9])


def test_pairs_with_and_without_a_meaning() -> None:
    good = [pair(number, mask_look()) for number in range(30)]
    odd = [pair(number, mask_look()) for number in range(30, 60)]
    for item in odd:
        object.__setattr__(item, "counts", None)
    assert len(choose_pairs(odd)) == MOST_SHOWN
    chosen = choose_pairs([*good, *odd])
    assert len(chosen) == MOST_SHOWN
    assert sum(item.counts is None for item in chosen) == 2
    assert choose_pairs(good[:3]) == good[:3]
    assert choose_pairs([]) == []
