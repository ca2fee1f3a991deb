"""Masks that do not lie on their images are found, on real pairs too; and real pairs raise no false alarm."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.doctor.alignment import alignment, flip_scores, own_score
from anysize.doctor.pairing import check_pairing

SETS = ("facade_voc", "bridge_voc", "camvid", "isbi_em", "water_voc")
Pairs = list[tuple[np.ndarray, np.ndarray]]


def pairs_of(folder: Path, num: int, start: int = 0) -> Pairs:
    """The first pairs of a VOC folder with sides of 64 pixels and more and at most 0.6 megapixels."""
    pairs: Pairs = []
    for path in sorted((folder / "SegmentationClass").glob("*.png"))[start:]:
        (image_path,) = (folder / "JPEGImages").glob(path.stem + ".*")
        mask = np.asarray(Image.open(path))
        if min(mask.shape) < 64 or mask.size > 600_000:
            continue
        pairs.append((np.asarray(Image.open(image_path).convert("RGB")), mask))
        if len(pairs) == num:
            return pairs
    raise AssertionError(f"{folder} has fewer than {num} pairs")


def squares(shift: tuple[int, int], size: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares, not in rows, on a dark ground, and their mask, moved."""
    mask = np.zeros((size, size + 7), np.uint8)
    for top, left, side in ((8, 12, 14), (41, 9, 17), (20, 45, 19), (58, 52, 12)):
        mask[top : top + side, left : left + side] = 1
    noise = np.random.default_rng(0).normal(0, 3, mask.shape)
    return mask * 90.0 + 40 + noise, np.roll(mask, shift, (0, 1))


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-9, 0), (12, 14)])
def test_a_known_shift_is_measured(shift: tuple[int, int]) -> None:
    estimate = alignment(*squares(shift))
    assert np.abs(np.subtract(estimate.shift, shift)).max() <= 1
    assert estimate.is_clear
    image, mask = squares(shift)
    colour = np.stack([image] * 3)
    assert alignment(colour, mask).shift == alignment(colour.transpose(1, 2, 0), mask).shift == estimate.shift


def test_scores_are_those_of_a_plain_loop() -> None:
    """The Fourier correlation against the mean edge rank under the borders, shift by shift."""
    from anysize.doctor.alignment import _borders, _edges

    image, mask = squares((4, -6))
    edges, borders = _edges(image), _borders(mask)
    surface = alignment(image, mask, max_shift=8).surface
    means = np.empty_like(surface)
    rows, columns = np.nonzero(borders)
    for dy in range(-8, 9):
        for dx in range(-8, 9):
            inside = (rows - dy >= 0) & (rows - dy < edges.shape[0])
            inside &= (columns - dx >= 0) & (columns - dx < edges.shape[1])
            means[dy + 8, dx + 8] = edges[rows[inside] - dy, columns[inside] - dx].mean()
    centred = means - np.median(means)
    np.testing.assert_allclose(surface, centred / (1.4826 * np.median(np.abs(centred))), atol=1e-8)


def test_nothing_is_said_without_borders_or_pairs() -> None:
    image = np.random.default_rng(0).normal(size=(3, 64, 64))
    assert not alignment(image, np.zeros((64, 64), np.uint8)).is_clear
    assert check_pairing([image] * 4, [np.zeros((64, 64), np.uint8)] * 4) == []
    assert check_pairing([], []) == []
    assert check_pairing([squares((9, 9))[0]], [squares((9, 9))[1]]) == []  # one pair proves nothing


def test_masks_of_chance_say_nothing() -> None:
    rng = np.random.default_rng(1)
    images = [rng.normal(size=(96, 96)) for _ in range(5)]
    masks = [rng.integers(0, 3, (12, 12)).repeat(8, 0).repeat(8, 1) for _ in range(5)]
    assert check_pairing(images, masks) == []


@pytest.mark.parametrize("name", SETS)
def test_real_pairs_raise_no_alarm(real_data: Path, name: str) -> None:
    pairs = pairs_of(real_data / name, 4)
    assert check_pairing(*zip(*pairs, strict=True)) == []


@pytest.mark.parametrize("name", SETS)
def test_real_masks_that_were_moved_are_found(real_data: Path, name: str) -> None:
    images, masks = zip(*pairs_of(real_data / name, 4), strict=True)
    (finding,) = check_pairing(images, [np.roll(mask, (8, 8), (0, 1)) for mask in masks], ["a", "b", "c", "d"])
    assert (finding.check, finding.severity) == ("pairing", "error")
    up, left = map(int, re.findall(r"^move the masks (\d+) px up and (\d+) px left, or", finding.fix)[0])
    assert abs(up - 8) <= 3
    assert abs(left - 8) <= 3


@pytest.mark.parametrize(
    ("wrong", "words", "mend"),
    [
        (lambda mask: mask[:, ::-1], "mirrored", "mirror"),
        (lambda mask: mask[::-1], "upside down", "upside down"),
        (lambda mask: mask[::-1, ::-1], "turned by 180 degrees", "half turn"),
        (np.transpose, "transposed", "transpose"),
        (np.rot90, "turned right by a quarter", "right"),
        (lambda mask: np.rot90(mask, -1), "turned left by a quarter", "left"),
        (lambda mask: mask[::-1, ::-1].T, "transposed along the other diagonal", "transverse"),
    ],
)
def test_square_masks_that_were_turned_are_found(
    real_data: Path, wrong: Callable[[np.ndarray], np.ndarray], words: str, mend: str
) -> None:
    images, masks = zip(*pairs_of(real_data / "isbi_em", 3), strict=True)
    moves: list[object] = []

    def told(move: object) -> str:
        moves.append(move)
        return "so"

    (finding,) = check_pairing(images, [wrong(mask) for mask in masks], mend=told)
    assert finding.found.startswith(f"masks fit their images only when {words} (fit ")
    assert finding.fix == f"have the masks {words}, or mirror and turn image and mask together; so"
    assert moves == [mend]


def test_the_move_that_mends_a_shift_is_against_it() -> None:
    images, masks = zip(*(squares((9, -6)) for _ in range(3)), strict=True)
    (finding,) = check_pairing(images, masks, mend=lambda move: f"move {move}")
    assert finding.fix.endswith("; move (-9, 6)")


def test_no_line_moves_masks_that_lie_where_they_belong() -> None:
    images, masks = zip(*([squares((0, 0))] + [squares((9, -6))] * 7), strict=True)
    (finding,) = check_pairing(images, masks, mend=lambda move: f"move {move}")
    assert finding.found.startswith("masks lie about 9 px down and 6 px left")
    assert finding.fix.endswith("; not all of them: 1 of these 8 lie where they belong")


@pytest.mark.slow
def test_real_masks_that_were_mirrored_or_exchanged_are_found(real_data: Path) -> None:
    images, masks = zip(*pairs_of(real_data / "camvid", 6), strict=True)
    (finding,) = check_pairing(images, [mask[:, ::-1] for mask in masks])
    assert finding.found.startswith("masks fit their images only when mirrored ")
    (finding,) = check_pairing(images, [*masks[1:], masks[0]])
    assert finding.found.startswith("image i fits mask i -1 of the list ")
    assert finding.fix == "pair images and masks by file name, not by position in two lists"
    assert own_score(images[0], masks[0]) > flip_scores(images[0], masks[0])["mirrored"] + 2
