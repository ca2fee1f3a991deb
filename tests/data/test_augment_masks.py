"""An image and its mask stay one on the other, whatever the geometry; beside a slow implementation of its own."""

import cmath
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from anysize.data.augment import (
    Augmentation,
    GeometryRow,
    apply_geometry,
    apply_to_mask,
    draw_geometry,
    largest_sizes,
)

SIZES = [(1, 1), (1, 97), (31, 2), (64, 64), (101, 37), (13, 211), (5, 5), (90, 120)]
FLAT = Augmentation(vflip=0.5, scale=(0.5, 2.0), aspect=(0.5, 2.0), crop=0.3)
WINDOWED = Augmentation(vflip=0.5, scale=(0.5, 2.0), crop=0.8, crop_size=41)
TURNED = Augmentation(vflip=0.5, scale=(0.5, 2.0), aspect=(0.7, 1.4), crop=0.5, rotate=30)
ALL = Augmentation(vflip=0.5, scale=(0.5, 2.0), crop=0.8, crop_size=41, rotate=180)


def rows_of(augmentation: Augmentation | None, *, max_side: int | None = None, epochs: int = 12) -> list[tuple]:
    rows = []
    for epoch in range(epochs):
        geometry = draw_geometry(SIZES, range(len(SIZES)), augmentation, seed=9, epoch=epoch, max_side=max_side)
        rows += [(size, geometry.row(place)) for place, size in enumerate(SIZES)]
    return rows


def source_of(row: GeometryRow, i: int, j: int) -> tuple[float, float]:
    """Native coordinates (y, x) of the center of a pixel that comes out; a pixel's center is at a half."""
    if row.vflip:
        i = row.out_height - 1 - i
    if row.hflip:
        j = row.out_width - 1 - j
    along = complex(
        ((row.window_left + j + 0.5) / row.whole_width - 0.5) * row.width * row.share,
        ((row.window_top + i + 0.5) / row.whole_height - 0.5) * row.height * row.share,
    )
    center = complex(row.left + row.width / 2, row.top + row.height / 2)
    source = center + along * cmath.exp(1j * row.angle)
    return source.imag, source.real


def nearest_of(row: GeometryRow, i: int, j: int) -> tuple[int, int]:
    """The native pixel of an unturned mask, in rational numbers."""
    if row.vflip:
        i = row.out_height - 1 - i
    if row.hflip:
        j = row.out_width - 1 - j
    y = Fraction(2 * (row.window_top + i) + 1, 2 * row.whole_height) * row.height
    x = Fraction(2 * (row.window_left + j) + 1, 2 * row.whole_width) * row.width
    return row.top + floor(y), row.left + floor(x)


@pytest.mark.parametrize("max_side", [None, 50])
@pytest.mark.parametrize("augmentation", [None, FLAT, WINDOWED])
def test_a_mask_takes_the_nearest_pixel(augmentation: Augmentation | None, max_side: int | None) -> None:
    num_checked = 0
    for size, row in rows_of(augmentation, max_side=max_side, epochs=6 if augmentation else 1):
        mask = np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8)
        found = apply_to_mask(mask, row)
        assert found.dtype == np.uint8
        assert found.flags["C_CONTIGUOUS"]
        assert found.shape == (row.out_height, row.out_width)
        wanted = [[mask[nearest_of(row, i, j)] for j in range(row.out_width)] for i in range(row.out_height)]
        assert np.array_equal(found, wanted)
        num_checked += found.size
    assert num_checked > 5000


@pytest.mark.parametrize("augmentation", [TURNED, ALL])
def test_a_turned_mask_takes_the_nearest_pixel(augmentation: Augmentation) -> None:
    num_checked, num_turned, num_all = 0, 0, 0
    for size, row in rows_of(augmentation, epochs=5):
        mask = np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8)
        found = apply_to_mask(mask, row)
        assert found.shape == (row.out_height, row.out_width)
        num_turned += row.angle != 0
        for i in range(row.out_height):
            for j in range(row.out_width):
                y, x = source_of(row, i, j)
                assert row.top <= y < row.top + row.height
                assert row.left <= x < row.left + row.width
                num_all += 1
                if min(y % 1, 1 - y % 1, x % 1, 1 - x % 1) > 0.01:  # else rounding decides
                    assert found[i, j] == mask[floor(y), floor(x)]
                    num_checked += 1
    assert num_turned > 25
    assert num_checked > 0.9 * num_all > 10_000


@pytest.mark.parametrize("augmentation", [FLAT, WINDOWED, TURNED, ALL])
def test_image_and_mask_come_from_the_same_places(augmentation: Augmentation) -> None:
    """On ramps: both tell where their pixels come from."""
    height, width = 70, 85
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    num_turned, shifts = 0, []
    for epoch in range(25):
        geometry = draw_geometry([(height, width)], [epoch], augmentation, seed=5, epoch=epoch)
        row = geometry.row(0)
        image = apply_geometry(np.stack([y, x, x], axis=2) * np.uint8(3), row)[..., :2] / 3
        masks = np.stack([apply_to_mask(ramp, row) for ramp in (y, x)], axis=2).astype(float)
        places = np.array([[source_of(row, i, j) for j in range(row.out_width)] for i in range(row.out_height)])
        # A shrunk image is a mean over so many pixels, which the border of the native image cuts off.
        reach = 1 + row.height / row.whole_height
        inside = (places > reach).all(axis=2) & (places < np.array([height, width]) - reach).all(axis=2)
        assert inside.any()
        # Pillow rounds a resized value twice, and cuts off the decimals of a turned one: 2 levels, 2/3 of a pixel.
        np.testing.assert_allclose(image[inside], places[inside] - 0.5, atol=0.67)
        np.testing.assert_allclose(masks[inside], places[inside] - 0.5, atol=0.51)
        # No shift between the two, but for half a level of those decimals and the ties of a shrunk mask.
        shifts.append((image - masks)[inside].mean(axis=0))
        num_turned += row.angle != 0
    assert num_turned == (25 if augmentation.rotate else 0)
    assert np.abs(shifts).max() < 0.35
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.25


def test_the_borders_of_an_image_and_of_its_mask_agree() -> None:
    """An image that is its mask times 200: where the image is above 100 is where the mask is 1, to a hair."""
    y, x = np.mgrid[:200, :260]
    mask = ((np.hypot(y - 90, x - 140) < 60) | ((y // 40 + x // 50) % 5 == 0)).astype(np.uint8)
    for augmentation in (FLAT, WINDOWED, TURNED, ALL):
        for epoch in range(10):
            row = draw_geometry([mask.shape], [0], augmentation, seed=2, epoch=epoch).row(0)
            labels = apply_to_mask(mask, row).astype(bool)
            bright = apply_geometry(mask[..., None] * np.uint8(200), row)[..., 0] > 100
            border = np.count_nonzero(np.diff(labels, axis=0)) + np.count_nonzero(np.diff(labels, axis=1))
            assert np.count_nonzero(labels != bright) <= 0.25 * border + 2, row


@pytest.mark.parametrize("augmentation", [FLAT, WINDOWED, TURNED, ALL])
def test_nothing_is_filled_and_no_label_is_new(augmentation: Augmentation) -> None:
    for size, row in rows_of(augmentation):
        assert (apply_geometry(np.full((*size, 3), 255, np.uint8), row) == 255).all()
        labels = np.random.default_rng(1).choice(np.array([3, 7, 255], np.uint8), size)
        assert set(np.unique(apply_to_mask(labels, row))) <= {3, 7, 255}


def test_a_cut_after_a_rotation_is_the_largest_that_fits() -> None:
    num_limited = 0
    for size, row in rows_of(Augmentation(scale=(1.0, 1.0), crop=0.6, rotate=180)):
        assert 0.5 - 1e-12 <= row.share <= 1
        corners = []
        for share in (row.share, row.share * 1.0001):
            turned = [
                complex(sx * row.width, sy * row.height) / 2 * share * cmath.exp(1j * row.angle)
                for sx in (-1, 1)
                for sy in (-1, 1)
            ]
            excess = max(max(abs(z.real) - row.width / 2, abs(z.imag) - row.height / 2) for z in turned)
            corners.append(excess)
        assert corners[0] <= 1e-9 * max(size) < corners[1] * 1e3
        # one aspect, to the rounding of each side
        assert abs(row.out_height - row.height * row.share) <= 0.5 + 1e-9 or row.out_height == 1
        assert abs(row.out_width - row.width * row.share) <= 0.5 + 1e-9 or row.out_width == 1
        num_limited += abs(row.share - 0.5) < 1e-9
    assert num_limited > 3


def test_angles_are_uniform_where_nothing_limits_them() -> None:
    geometry = draw_geometry(np.tile([400, 500], (4000, 1)), range(4000), Augmentation(rotate=20), seed=0, epoch=0)
    degrees = np.rad2deg(geometry.angles)
    np.testing.assert_allclose([degrees.min(), degrees.mean(), degrees.max()], [-20, 0, 20], atol=0.4)
    np.testing.assert_allclose(degrees.std(), 40 / 12**0.5, atol=0.3)


def test_rotation_turns_as_numpy_does() -> None:
    """A square by a quarter turn is numpy's, either way; an image is turned about its center."""
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    row = draw_geometry([(9, 9)], [0], Augmentation.none(), seed=0, epoch=0).row(0)
    for angle, turns in ((np.pi / 2, 1), (-np.pi / 2, -1), (np.pi, 2)):
        turned = row._replace(angle=angle, share=1.0)
        assert np.abs(apply_geometry(image, turned) - np.rot90(image, turns).astype(int)).max() <= 1
        assert np.array_equal(apply_to_mask(image[..., 0], turned), np.rot90(image[..., 0], turns))


@pytest.mark.parametrize("rotate", [0, 25])
def test_a_window_is_cut_from_the_whole(rotate: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (150, 190, 3), dtype=np.uint8)
    corners = set()
    for epoch in range(30):
        augmentation = Augmentation(scale=(0.5, 2.0), crop_size=64, rotate=rotate, hflip=0)
        row = draw_geometry([(150, 190)], [0], augmentation, seed=1, epoch=epoch).row(0)
        assert (row.out_height, row.out_width) == (min(row.whole_height, 64), min(row.whole_width, 64))
        whole = row._replace(window_top=0, window_left=0, out_height=row.whole_height, out_width=row.whole_width)
        window = np.s_[row.window_top : row.window_top + row.out_height, row.window_left :][0]
        columns = slice(row.window_left, row.window_left + row.out_width)
        wanted = apply_geometry(image, whole)[window, columns].astype(int)
        # one level where it rounds otherwise, when it is shrunk and again when it is turned
        assert np.abs(apply_geometry(image, row) - wanted).max() <= (2 if rotate else 1)
        assert np.abs(apply_geometry(image, row) - wanted).mean() < 0.5
        far = apply_to_mask(image[..., 0], row) != apply_to_mask(image[..., 0], whole)[window, columns]
        assert far.mean() < (0.01 if rotate else 1e-9)
        corners.add((row.window_top, row.window_left))
    assert len(corners) > 25


@pytest.mark.parametrize("max_side", [None, 60])
@pytest.mark.parametrize("augmentation", [FLAT, WINDOWED, TURNED, ALL, None])
def test_no_draw_exceeds_the_largest_sizes(augmentation: Augmentation | None, max_side: int | None) -> None:
    for smallest_side in (1, 9):
        limits = {"max_side": max_side, "smallest_side": smallest_side}
        bound = largest_sizes(np.array(SIZES), augmentation, **limits)
        drawn = [
            draw_geometry(SIZES, range(len(SIZES)), augmentation, seed=1, epoch=epoch, **limits).sizes
            for epoch in range(200)
        ]
        most = np.max(drawn, axis=0)
        assert (most <= bound).all()
        plain = draw_geometry(SIZES, range(len(SIZES)), None, seed=0, epoch=0, **limits).sizes
        assert (np.min(drawn, axis=0) >= np.minimum(plain, smallest_side)).all()
        if augmentation is WINDOWED:
            assert (bound[-1] == (41, 41)).all()
            assert (most[-1] == (41, 41)).all()
