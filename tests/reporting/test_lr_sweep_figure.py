"""The figure of a learning-rate sweep."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.lr_sweep import draw_lr_sweep, smooth_losses

Decoded = Callable[[Path], Image.Image]
RATES = np.geomspace(1e-6, 1.0, 61)
FALLING = 2.0 - 1.5 / (1 + np.exp(-3 * (np.log10(RATES) + 3)))
ORANGE, BLUE = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_smoothing_against_a_weighted_mean() -> None:
    random = np.random.default_rng(0)
    losses = random.random(40)
    losses[[3, 17, 39]] = math.nan, math.inf, math.nan
    smooth = smooth_losses(losses, 0.8)
    for place in range(40):
        past = [loss for loss in losses[: place + 1] if math.isfinite(loss)]
        weights = 0.8 ** np.arange(len(past))[::-1]
        if math.isfinite(losses[place]):
            assert smooth[place] == pytest.approx(float((weights * past).sum() / weights.sum()))
        else:
            assert math.isnan(smooth[place])


def test_the_suggestion_stands_at_its_rate(tmp_path: Path) -> None:
    """Axes from 0.8 inches, 7.8 wide, the rates on a log scale with a margin of 2 % at each end."""
    for suggestion in (1e-5, 1e-3, 0.1):
        draw_lr_sweep(tmp_path / "lr.png", RATES, FALLING, suggestion, (1e-4, 1e-2))
        orange = (drawn(tmp_path / "lr.png") == ORANGE).all(axis=-1).sum(axis=0)
        share = (math.log10(suggestion) + 6 + 0.12) / 6.24
        assert int(orange.argmax()) == pytest.approx(140 * (0.8 + 7.8 * share), abs=2)
        assert orange.max() > 100


def test_no_suggestion_draws_none(tmp_path: Path) -> None:
    draw_lr_sweep(tmp_path / "lr.png", RATES, FALLING, None)
    pixels = drawn(tmp_path / "lr.png")
    assert not (pixels == ORANGE).all(axis=-1).any()
    assert (pixels == BLUE).all(axis=-1).sum() > 1000


def test_an_explosion_does_not_flatten_the_fall(tmp_path: Path) -> None:
    """The smoothed line falls over most of the panel's height, however far it rises later."""
    exploding = FALLING + np.where(RATES > 0.1, 1e6 * RATES, 0)
    draw_lr_sweep(tmp_path / "lr.png", RATES, exploding, 1e-3, smoothed=exploding)
    rows = np.flatnonzero((drawn(tmp_path / "lr.png")[:, 112:900] == BLUE).all(axis=-1).any(axis=1))
    assert np.ptp(rows) > 0.6 * 3.05 * 140


@pytest.mark.parametrize(
    ("rates", "losses"),
    [
        ([1e-3], [2.0]),
        ([1e-3, 2e-3], [2.0, 2.0]),
        ([1e-3, 2e-3], [math.nan, math.inf]),
        (RATES, np.where(RATES > 0.1, np.nan, FALLING)),
        (RATES, -FALLING),
        (RATES, np.zeros(61)),
        (RATES, FALLING[::-1]),
    ],
)
def test_any_course(tmp_path: Path, decoded: Decoded, rates: list[float], losses: list[float]) -> None:
    draw_lr_sweep(tmp_path / "lr.png", rates, losses, 1.5e-3, (1e-3, 2e-3))
    assert decoded(tmp_path / "lr.png").size == (1260, 700)


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        ([], [], "there are no steps; a sweep needs at least one"),
        ([0.1, 0.2], [1.0], "there are 2 rates and 1 losses; one each is needed"),
        ([0.0, 0.2], [1.0, 1.0], "the rates go from 0 to 0.2; they must be above 0 and ascend"),
        ([0.3, 0.2], [1.0, 1.0], "the rates go from 0.3 to 0.2; they must be above 0 and ascend"),
        ([0.1, 0.1], [1.0, 1.0], "the rates go from 0.1 to 0.1; they must be above 0 and ascend"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path: Path, rates: list[float], losses: list[float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        draw_lr_sweep(tmp_path / "lr.png", rates, losses, None)
    assert caught.value.message == message
