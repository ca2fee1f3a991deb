"""The cost model, on timings made up from known costs."""

import numpy as np
import pytest

from anysize.errors import UsageError
from anysize.timing import StepCost, Timing, fit_cost

PIXELS = (4_000, 15_000, 33_000, 85_000, 350_000)


def made_up(pixel: float, launch: float, new: float, *, noise: float = 0.0, rounds: int = 7) -> list[Timing]:
    """Times of known costs; noise only ever adds."""
    random = np.random.default_rng(0)
    timings = []
    for pixels in PIXELS:
        usual = pixels * pixel + launch
        later = usual * (1 + noise * random.exponential(size=rounds))
        timings.append(Timing(pixels, usual + new, tuple(later.tolist())))
    return timings


def test_known_costs_are_found() -> None:
    cost = fit_cost(made_up(6.5e-7, 0.017, 0.005), seconds_per_step=0.013)
    assert cost.seconds_per_pixel == pytest.approx(6.5e-7)
    assert cost.seconds_per_launch == pytest.approx(0.017)
    assert cost.seconds_per_new_canvas == pytest.approx(0.005)
    assert cost.seconds_per_step == 0.013
    assert cost.launch_pixels == pytest.approx(0.017 / 6.5e-7)
    assert cost.canvas_pixels == pytest.approx(0.005 / 6.5e-7)
    assert (cost.spread, cost.rounds, cost.is_steady) == (1.0, 7, True)


def test_noise_moves_them_little_and_is_told() -> None:
    quiet = fit_cost(made_up(6.5e-7, 0.017, 0.05, noise=0.1))
    assert quiet.is_steady
    busy = fit_cost(made_up(6.5e-7, 0.017, 0.05, noise=2.0))
    assert not busy.is_steady
    assert quiet.seconds_per_pixel == pytest.approx(6.5e-7, rel=0.1)
    assert quiet.seconds_per_launch == pytest.approx(0.017, rel=0.1)
    assert not fit_cost(made_up(6.5e-7, 0.017, 0.05, rounds=2)).is_steady


@pytest.mark.parametrize(
    ("seconds", "launch"), [((0.01, 0.01, 0.01, 0.01, 0.01), 0.01), ((0.1, 0.1, 0.05, 0.05, 0.01), None)]
)
def test_where_pixels_cost_nothing_measurable(seconds: tuple[float, ...], launch: float | None) -> None:
    cost = fit_cost([Timing(pixels, 0.0, (second,)) for pixels, second in zip(PIXELS, seconds, strict=True)])
    assert cost.seconds_per_pixel < 1e-9
    assert cost.seconds_per_launch == pytest.approx(launch) if launch else 0.01 < cost.seconds_per_launch < 0.1
    assert cost.seconds_per_new_canvas == 0.0
    assert np.isfinite([cost.launch_pixels, cost.canvas_pixels]).all()


def test_where_a_launch_costs_nothing_measurable() -> None:
    cost = fit_cost([Timing(pixels, 0.0, (pixels**1.2 * 1e-7,)) for pixels in PIXELS])
    assert cost.seconds_per_launch == 0.0
    assert 1e-7 * PIXELS[0] ** 0.2 < cost.seconds_per_pixel < 1e-7 * PIXELS[-1] ** 0.2


def test_costs_add_up() -> None:
    cost = StepCost(seconds_per_pixel=1e-6, seconds_per_launch=0.01, seconds_per_new_canvas=0.1, seconds_per_step=1.0)
    assert cost.seconds(pixels=2e6, launches=3, new_canvases=4, steps=5) == pytest.approx(2 + 0.03 + 0.4 + 5)


@pytest.mark.parametrize(
    ("timings", "message"),
    [
        ([Timing(5, 0.1, (0.1,))] * 2, "2 timings were given; canvases of two different areas are required"),
        (
            [Timing(5, 0.1, ()), Timing(6, 0.1, (0.1,))],
            "2 timings were given; canvases of two different areas are required",
        ),
        (
            [Timing(5, 0.1, (0.0,)), Timing(6, 0.1, (0.5,))],
            "passes took [0.0, 0.5] seconds; times above 0 are required",
        ),
    ],
)
def test_what_tells_nothing_is_refused(timings: list[Timing], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        fit_cost(timings)
    assert str(raised.value) == message
