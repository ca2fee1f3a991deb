"""Augmentation: the sizes promised are the sizes delivered, and native pixels stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anysize.data.augment import Augmentation, apply_geometry, draw_geometry, jitter_color
from anysize.errors import UsageError

_SIZES = np.array([[1, 1], [1, 97], [31, 2], [64, 64], [100, 37], [13, 400], [5, 5]])
_STRONG = Augmentation(vflip=0.5, scale=(0.3, 3.0), aspect=(0.5, 2.0), crop=0.2)
_TURNED = replace(_STRONG, rotate=180)
_WINDOWED = Augmentation(scale=(0.5, 2.0), crop_size=70, rotate=15)


def _pixels(size: np.ndarray, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**64),
    epoch=st.integers(0, 1000),
    max_side=st.none() | st.integers(1, 500),
    smallest=st.integers(1, 70),
    augmentation=st.sampled_from([None, Augmentation(), Augmentation.none(), _STRONG, _TURNED, _WINDOWED]),
)
def test_the_sizes_promised_are_delivered_and_within_the_limits(seed, epoch, max_side, smallest, augmentation) -> None:
    if max_side is not None:
        smallest = min(smallest, max_side)
    geometry = draw_geometry(
        _SIZES,
        range(len(_SIZES)),
        augmentation,
        seed=seed,
        epoch=epoch,
        max_side=max_side,
        smallest_side=smallest,
    )
    plain = draw_geometry(_SIZES, range(len(_SIZES)), None, seed=0, epoch=0, max_side=max_side).sizes
    for position, native in enumerate(_SIZES):
        row = geometry.row(position)
        assert 0 <= row.top <= native[0] - row.height
        assert 0 <= row.left <= native[1] - row.width
        result = apply_geometry(_pixels(native), row)
        assert result.shape == (*geometry.sizes[position], 3)
        assert result.flags["C_CONTIGUOUS"]
        assert max_side is None or max(result.shape[:2]) <= max_side
        assert min(result.shape[:2]) >= 1
        # no side falls below the smallest, but for images that are so small without any augmentation
        assert (geometry.sizes[position] >= np.minimum(plain[position], smallest)).all()


def test_one_image_is_drawn_alike_alone_and_among_others() -> None:
    indices = np.arange(len(_SIZES)) * 1000
    together = draw_geometry(_SIZES, indices, _STRONG, seed=3, epoch=5, max_side=200)
    backwards = draw_geometry(_SIZES[::-1], indices[::-1], _STRONG, seed=3, epoch=5, max_side=200)
    for position in range(len(_SIZES)):
        alone = draw_geometry(_SIZES[position], indices[position], _STRONG, seed=3, epoch=5, max_side=200)
        assert alone.row(0) == together.row(position) == backwards.row(len(_SIZES) - 1 - position)


def test_seed_epoch_and_index_each_change_the_draw() -> None:
    size = [[200, 300]]
    rows = {
        draw_geometry(size, [index], _STRONG, seed=seed, epoch=epoch).row(0)
        for seed, epoch, index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1))
    }
    assert len(rows) == 6


def test_a_known_draw_never_changes() -> None:
    """Another draw on another machine or in another version would break "the same plan everywhere"."""
    geometry = draw_geometry([[200, 300], [64, 48]], [0, 1], Augmentation(), seed=0, epoch=0)
    assert [tuple(geometry.row(i)) for i in range(2)] == [
        (3, 17, 186, 282, 183, 278, True, False, 183, 278, 0, 0, 0.0, 1.0),
        (4, 1, 58, 46, 58, 46, False, False, 58, 46, 0, 0, 0.0, 1.0),
    ]


def test_further_kinds_do_not_change_what_the_others_draw() -> None:
    sizes = [[200, 300], [64, 48], [90, 91]]
    plain = draw_geometry(sizes, range(3), Augmentation(), seed=4, epoch=1)
    cut = draw_geometry(sizes, range(3), Augmentation(crop_size=40, hue=5), seed=4, epoch=1)
    turned = draw_geometry(sizes, range(3), Augmentation(rotate=10), seed=4, epoch=1)
    for name in ("box", "flips"):
        assert np.array_equal(getattr(plain, name), getattr(cut, name))
        assert np.array_equal(getattr(plain, name), getattr(turned, name))
    assert np.array_equal(plain.whole, cut.whole)
    assert (plain.whole >= turned.whole).all()
    image = _pixels(np.array([20, 30]))
    drawn = [jitter_color(image, 0.2, seed=1, epoch=2, index=3, hue=hue) for hue in (0.0, 1e-9)]
    assert np.array_equal(*drawn)


def test_nothing_to_do_gives_the_native_pixels_bit_by_bit() -> None:
    for augmentation in (None, Augmentation.none()):
        for size in _SIZES:
            image = _pixels(size)
            row = draw_geometry([size], [7], augmentation, seed=1, epoch=2, max_side=400).row(0)
            assert np.array_equal(apply_geometry(image, row), image)
            assert jitter_color(image, 0.0, seed=1, epoch=2, index=7) is image


def test_a_crop_without_a_scale_cuts_native_pixels() -> None:
    image = _pixels(np.array([50, 80]))
    crops = Augmentation(hflip=0, scale=(1.0, 1.0), crop=0.5, color_jitter=0)
    corners = set()
    for epoch in range(50):
        row = draw_geometry([[50, 80]], [0], crops, seed=0, epoch=epoch).row(0)
        assert (row.out_height, row.out_width) == (row.height, row.width)
        assert (row.height >= 25, row.width >= 40) == (True, True)
        expected = image[row.top : row.top + row.height, row.left : row.left + row.width]
        assert np.array_equal(apply_geometry(image, row), expected)
        corners.add((row.top, row.left))
    assert len(corners) > 30


def test_flips_mirror_and_are_drawn_as_often_as_asked() -> None:
    image = _pixels(np.array([6, 9]))
    flips = Augmentation(hflip=0.25, vflip=0.75, scale=(1.0, 1.0), crop=1.0, color_jitter=0)
    geometry = draw_geometry(np.tile([6, 9], (4000, 1)), range(4000), flips, seed=0, epoch=0)
    np.testing.assert_allclose(geometry.flips.mean(axis=0), [0.25, 0.75], atol=0.03)
    expected = {
        (False, False): image,
        (True, False): image[:, ::-1],
        (False, True): image[::-1],
        (True, True): image[::-1, ::-1],
    }
    seen = set()
    for position in range(40):
        row = geometry.row(position)
        assert np.array_equal(apply_geometry(image, row), expected[row.hflip, row.vflip])
        seen.add((row.hflip, row.vflip))
    assert len(seen) == 4


def test_the_scale_is_uniform_in_the_logarithm() -> None:
    scales = Augmentation(hflip=0, scale=(0.5, 2.0), crop=1.0)
    sizes = draw_geometry(np.tile([1000, 1000], (5000, 1)), range(5000), scales, seed=0, epoch=0).sizes
    logs = np.log2(sizes[:, 0] / 1000)
    assert np.array_equal(sizes[:, 0], sizes[:, 1])
    np.testing.assert_allclose([logs.min(), logs.mean(), logs.max()], [-1, 0, 1], atol=0.03)
    np.testing.assert_allclose(logs.std(), 2 / 12**0.5, atol=0.02)


@pytest.mark.parametrize(
    ("native", "max_side", "expected"),
    [
        ([1000, 500], 100, [100, 50]),
        ([3, 1000], 100, [1, 100]),
        ([99, 100], 100, [99, 100]),
        ([5, 2], 3, [3, 1]),
        ([10, 5], 5, [5, 3]),
    ],
)
def test_max_side_shrinks_and_never_enlarges(native: list[int], max_side: int, expected: list[int]) -> None:
    for augmentation in (None, Augmentation.none()):
        sizes = draw_geometry([native], [0], augmentation, seed=0, epoch=0, max_side=max_side).sizes
        assert sizes.tolist() == [expected]


def test_a_resize_takes_its_box_and_nothing_else() -> None:
    image = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 50, axis=0)  # each pixel is its column
    for epoch in range(20):
        row = draw_geometry([[50, 200]], [0], _STRONG, seed=0, epoch=epoch).row(0)
        unflipped = apply_geometry(image, row._replace(hflip=False))[0, :, 0].astype(float)
        step = row.width / row.out_width
        expected = row.left + (np.arange(row.out_width) + 0.5) * step - 0.5
        np.testing.assert_allclose(unflipped[3:-3], expected[3:-3], atol=1)


def test_a_resize_keeps_the_mean_and_one_channel() -> None:
    image = np.full((40, 60, 1), 77, np.uint8)
    row = draw_geometry([[40, 60]], [0], _STRONG, seed=0, epoch=0).row(0)
    result = apply_geometry(image, row)
    assert (result == 77).all()
    assert result.shape == (row.out_height, row.out_width, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter_varies_brightness_within_its_strength(channels: int) -> None:
    image = np.full((4, 5, channels), 100, np.uint8)
    means = []
    for index in range(300):
        result = jitter_color(image, 0.2, seed=0, epoch=0, index=index)
        assert (result.shape, result.dtype) == (image.shape, np.uint8)
        assert np.array_equal(result, jitter_color(image, 0.2, seed=0, epoch=0, index=index))
        means.append(result.mean())
    assert 80 <= min(means) < 83
    assert 117 < max(means) <= 120


def test_color_jitter_varies_contrast_and_saturation() -> None:
    grey = np.array([[[50], [150]]], np.uint8)
    spans = {int(np.ptp(jitter_color(grey, 0.5, seed=0, epoch=0, index=i).astype(int))) for i in range(99)}
    assert min(spans) < 60 < 150 < max(spans)
    color = np.array([[[150, 100, 100]]], np.uint8)
    ratios = []
    for index in range(300):
        jittered = jitter_color(color, 0.5, seed=0, epoch=0, index=index).astype(float)
        ratios.append(np.ptp(jittered) / jittered.mean())
    # 0.43 natively; contrast alone scales it by 0.5 to 1.5
    assert min(ratios) < 0.43 * 0.4
    assert max(ratios) > 0.43 * 1.7


def test_the_hue_turns_and_brightness_stays() -> None:
    image = np.full((2, 2, 3), [180, 100, 90], np.uint8)
    grey = np.full((2, 2, 3), 77, np.uint8)
    hues = []
    for index in range(200):
        assert np.array_equal(jitter_color(grey, 0, seed=0, epoch=0, index=index, hue=30), grey)
        result = jitter_color(image, 0, seed=0, epoch=0, index=index, hue=30)[0, 0].astype(float)
        assert result @ [0.299, 0.587, 0.114] == pytest.approx(122.8, abs=1)
        color = np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]) @ result
        hues.append(np.rad2deg(np.arctan2(*color[::-1])))
    native = np.rad2deg(np.arctan2(*(np.array([[0.211, -0.523, 0.312], [0.596, -0.274, -0.322]]) @ image[0, 0])))
    np.testing.assert_allclose([min(hues), max(hues)], [native - 30, native + 30], atol=1.5)
    one = np.full((2, 2, 1), 9, np.uint8)
    assert jitter_color(one, 0, seed=0, epoch=0, index=0, hue=30) is one


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hflip": 1.5}, "hflip is 1.5; it must be 0 to 1\nhint: hflip=0 switches it off"),
        ({"rotate": 181}, "rotate is 181; it must be 0 to 180\nhint: rotate=0 switches it off"),
        ({"hue": -1}, "hue is -1; it must be 0 to 180\nhint: hue=0 switches it off"),
        (
            {"crop_size": 0},
            "crop_size is 0; it must be at least 1 pixel\nhint: crop_size=None cuts no window",
        ),
        ({"color_jitter": -1}, "color_jitter is -1; it must be 0 to 1\nhint: color_jitter=0 switches it off"),
        ({"crop": 0}, "crop is 0; it must be above 0 and at most 1\nhint: crop=1 keeps the whole image"),
        (
            {"scale": (2.0, 1.0)},
            "scale is (2.0, 1.0); needed: two positive factors, smaller first\nhint: scale=(1.0, 1.0) switches it off",
        ),
    ],
)
def test_wrong_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Augmentation(**values)
    assert str(caught.value) == message


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        draw_geometry([[5, 5]], [0], None, seed=0, epoch=0, max_side=10, smallest_side=33)
    assert str(caught.value) == (
        "smallest_side is 33 and max_side 10; needed: 1 <= smallest <= max_side\n"
        "hint: max_side=33 or more, or None for no limit"
    )
    with pytest.raises(UsageError) as caught:
        draw_geometry([[50, 50]], [0], Augmentation(crop_size=32), seed=0, epoch=0, smallest_side=33)
    assert str(caught.value) == (
        "crop_size is 32 and the smallest side 33; no window may be below the smallest side\nhint: crop_size=33 or more"
    )
    with pytest.raises(UsageError, match="draw_geometry got 1 sizes for 2 indices; it needs one for each"):
        draw_geometry([[5, 5]], [0, 1], None, seed=0, epoch=0)
