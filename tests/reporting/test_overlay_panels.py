"""Masks and errors as pictures, against loops over their pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.reporting.segmentation.panels import (
    blend,
    color_labels,
    error_map,
    hatching,
    resize_labels,
    resize_picture,
    shown_size,
)

COLORS = ((0, 0, 0), (250, 200, 0), (255, 255, 255))
ORANGE = (0xD5, 0x5E, 0x00)
sides = st.integers(1, 12)


def random_item(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    truth = random.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
    return picture, truth, random.integers(0, 3, (height, width)).astype(np.uint8)


@given(seed=st.integers(0, 10**6), height=sides, width=sides)
def test_error_map_marks_exactly_the_wrong_pixels(seed: int, height: int, width: int) -> None:
    picture, truth, prediction = random_item(seed, height, width)
    shown = error_map(picture, truth, prediction)
    assert shown.dtype == np.uint8
    for row in range(height):
        for column in range(width):
            dot = tuple(int(value) for value in shown[row, column])
            if truth[row, column] == 255:
                assert dot in ((168,) * 3, (238,) * 3)
            elif truth[row, column] != prediction[row, column]:
                assert dot == ORANGE
            else:
                grey = sum(int(value) for value in picture[row, column]) / 3
                assert len(set(dot)) == 1
                assert dot[0] == pytest.approx(255 - 0.35 * (255 - grey), abs=0.51)


@given(seed=st.integers(0, 10**6), height=sides, width=sides)
def test_what_is_predicted_under_ignored_pixels_is_no_error(seed: int, height: int, width: int) -> None:
    picture, truth, prediction = random_item(seed, height, width)
    other = np.where(truth == 255, (prediction + 1) % 3, prediction)
    assert (error_map(picture, truth, prediction) == error_map(picture, truth, other)).all()


@given(seed=st.integers(0, 10**6), height=sides, width=sides)
def test_masks_have_the_colours_of_their_classes(seed: int, height: int, width: int) -> None:
    picture, truth, _ = random_item(seed, height, width)
    colored, mixed = color_labels(truth, COLORS), blend(picture, truth, COLORS)
    stripes = hatching((height, width))
    for row in range(height):
        for column in range(width):
            label = truth[row, column]
            color = stripes[row, column] if label == 255 else np.array(COLORS[label])
            assert (colored[row, column] == color).all()
            above, before = truth[max(row - 1, 0), column], truth[row, max(column - 1, 0)]
            is_border = label != above or label != before  # its line has the full colour
            below = picture[row, column]
            half = (below.astype(int) + color) // 2 if color.any() else below
            assert (mixed[row, column] == (color if is_border else half)).all()


def test_hatching_is_diagonal_and_half_dark() -> None:
    stripes = hatching((16, 16))
    assert (stripes[1:, :-1] == stripes[:-1, 1:]).all()
    assert (stripes == 168).mean() == 0.5
    assert set(np.unique(stripes)) == {168, 238}


@given(labels=st.tuples(sides, sides), shown=st.tuples(sides, sides))
def test_labels_are_those_under_the_centres(labels: tuple[int, int], shown: tuple[int, int]) -> None:
    values = np.arange(labels[0] * labels[1], dtype=np.uint8).reshape(labels)
    result = resize_labels(values, shown)
    assert result.shape == shown
    for row in range(shown[0]):
        for column in range(shown[1]):
            # In integers: the pixel that holds the point (row + 1/2) * H / h.
            source = (2 * row + 1) * labels[0] // (2 * shown[0]), (2 * column + 1) * labels[1] // (2 * shown[1])
            assert result[row, column] == values[source]


@given(size=st.tuples(st.integers(1, 9000), st.integers(1, 9000)))
def test_every_picture_keeps_its_shape_and_fits(size: tuple[int, int]) -> None:
    shown = shown_size(size)
    assert 1 <= max(shown) <= 330
    if max(size) <= 330:
        assert shown[0] % size[0] == shown[1] % size[1] == 0
        assert shown[0] // size[0] == shown[1] // size[1]
    else:
        scale = 330 / max(size)
        for dots, length in zip(shown, size, strict=True):
            assert abs(dots - max(1, length * scale)) <= 0.5


def test_pictures_of_one_channel_and_enlarged_dots() -> None:
    grey = np.array([[[10], [200]]], dtype=np.uint8)
    assert resize_picture(grey, (1, 2)).tolist() == [[[10] * 3, [200] * 3]]
    large = resize_picture(grey, (3, 6))
    assert large[:, :3].tolist() == [[[10] * 3] * 3] * 3
    assert large[:, 3:].tolist() == [[[200] * 3] * 3] * 3
