from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.labels import place_labels
from anysize.reporting.padding_curve import spread_apart
from anysize.reporting.plan_figure import draw_plan
from anysize.reporting.size_cloud import OWN_COLOR, canvas_colors, needs_log_scale

Decoded = Callable[[Path], Image.Image]
LEVELS = {"free canvases": 0.031, "random batches": 0.305, "pad to the largest": 0.62}
CURVE = [(1, 0.5), (2, 0.3), (4, 0.2), (8, 0.1)]


def random_sizes(num_images: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.exp(random.normal(6, 0.6, (num_images, 2))).astype(int) + 1


CASES = {
    "one image of one pixel": (np.array([[1, 1]]), [(1, 1)]),
    "all equal": (np.full((50, 2), 224), [(224, 224)]),
    "one long side": (np.array([[5000, 80], [80, 5000], [1, 1]]), [(5000, 80), (80, 5000)]),
    "one width, many heights": (np.stack([np.arange(1, 4001), np.full(4000, 512)], 1), [(4000, 512)]),
    "100,000 images": (random_sizes(100_000), [(512, 512), (1024, 768), (8000, 8000)]),
    "100,000 images on many canvases": (random_sizes(100_000), [(9000, 9000 + n) for n in range(40)]),
    "more canvases than can be outlined": (
        random_sizes(500),
        [(int(h), int(w)) for h, w in random_sizes(400, 1)],
    ),
}


def some_canvas(sizes: np.ndarray, canvases: list[tuple[int, int]]) -> np.ndarray:
    """A number for each image; the figure does not mind where it does not fit."""
    return np.arange(len(sizes)) % len(canvases)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("case", CASES)
def test_plan_is_drawn(tmp_path: Path, decoded: Decoded, case: str, own: bool) -> None:
    sizes, canvases = CASES[case]
    path = tmp_path / "plots" / "plan.png"
    draw_plan(
        path,
        title=case,
        sizes=sizes,
        canvases=canvases,
        lies_on=some_canvas(sizes, canvases),
        is_own=[own and number % 2 == 0 for number in range(len(canvases))],
        curve=CURVE,
        chosen=8 if own else None,
        levels=LEVELS,
    )
    assert decoded(path).size == (1764, 966)
    assert list(path.parent.iterdir()) == [path]


def test_shares_may_be_zero_whole_or_none(tmp_path: Path, decoded: Decoded) -> None:
    for index, levels in enumerate(({}, {"one by one": 0.0}, {"$all$ of\nit": 1.0, "nothing": 0.0})):
        for curve in ([], [(1, 0.0)], [(1, 1.0), (2, 0.0)]):
            path = tmp_path / f"{index}-{len(curve)}.png"
            draw_plan(path, sizes=[(3, 5)], canvases=[(3, 5)], lies_on=[0], curve=curve, levels=levels, title="$x")
            decoded(path)


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    sizes = random_sizes(7_000)
    for name in ("a.png", "b.png"):
        draw_plan(
            tmp_path / name,
            sizes=sizes,
            canvases=[(512, 512)],
            lies_on=np.zeros(7_000, int),
            levels=LEVELS,
            title="Plan",
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "sizes has shape (0,); (N, 2) with N >= 1 is needed, (height, width) a row"),
        ({"sizes": [(3, 4), (0, 7)]}, "sizes[1] is below 1 pixel; heights and widths start at 1"),
        ({"lies_on": [0, 0]}, "lies_on has shape (2,); (1,) is needed, one number for each image"),
        ({"lies_on": [1]}, "lies_on goes from 1 to 1; there are 1 canvases"),
        ({"is_own": [True, False]}, "is_own has shape (2,); (1,) is needed, one for each canvas"),
        ({"levels": {"a": 1.2}}, "the padding share of 'a' is 1.2; it must lie in 0..1"),
        ({"curve": [(4, -0.1)]}, "the padding share of '4 canvases' is -0.1; it must lie in 0..1"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    arguments = {"sizes": [(3, 4)], "canvases": [(3, 4)], "lies_on": [0], "levels": LEVELS, "title": "Plan"}
    with pytest.raises(UsageError) as caught:
        draw_plan(tmp_path / "plan.png", **{**arguments, **changes})
    assert caught.value.message == message
    assert not list(tmp_path.iterdir())


def test_colors_go_by_area_and_own_canvases_stand_out() -> None:
    canvases = np.array([[10, 10], [30, 30], [20, 20], [7, 7]])
    colors = canvas_colors(canvases, np.array([False, False, False, True]))
    assert colors[3] == OWN_COLOR
    light = [sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in colors[:3]]
    assert light[0] < light[2] < light[1]
    many = canvas_colors(np.ones((40, 2), np.int64), np.zeros(40, np.bool_))
    assert len(set(many)) == 1


def test_figures_beside_the_curve_stand_apart() -> None:
    for seed in range(200):
        random = np.random.default_rng(seed)
        heights = random.random(random.integers(1, 6)).round(1)
        moved = np.array(spread_apart(heights.tolist(), 0.2))
        order = np.argsort(heights, kind="stable")
        assert (np.diff(moved[order]) > 0.2 - 1e-9).all()
        far = np.diff(np.sort(heights), prepend=-9, append=9) >= 0.2
        if far.all():
            assert moved == pytest.approx(heights)


def test_log_scale_only_where_a_linear_one_would_hide_the_small() -> None:
    assert not needs_log_scale(np.array([[100, 1200]]))
    assert needs_log_scale(np.array([[100, 1201]]))
    assert not needs_log_scale(np.array([[1, 1]]))


def test_labels_never_cover_each_other() -> None:
    points = np.random.default_rng(3).uniform(50, 350, (40, 2))
    places = place_labels(points, ["480x640  12 %"] * 40, (0, 0, 400, 400), dpi=72)
    width, height = 4.8 * 13, 11.5
    boxes = []
    for (x, y), place in zip(points, places, strict=True):
        if place is not None:
            left = x - width if place.ha == "right" else x
            bottom = y if place.va == "bottom" else y - height
            boxes.append((left, bottom))
            assert 0 <= left <= 400 - width
            assert 0 <= bottom <= 400 - height
            inside = (points[:, 0] > left) & (points[:, 0] < left + width)
            inside &= (points[:, 1] > bottom) & (points[:, 1] < bottom + height)
            assert not inside.any()  # the label's own point lies at its corner
    assert 3 < len(boxes) < 40  # some found a place, and some could not
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert all(abs(a[0] - b[0]) >= width or abs(a[1] - b[1]) >= height for a, b in pairs)


def test_labels_keep_off_other_marks() -> None:
    points, free = np.array([[200.0, 200.0]]), np.array([[180.0, 205.0]])
    (left,) = place_labels(points, ["480x640"], (0, 0, 400, 400), dpi=72)
    (right,) = place_labels(points, ["480x640"], (0, 0, 400, 400), dpi=72, avoid=free)
    assert left == ("right", "bottom")
    assert right == ("right", "top")
