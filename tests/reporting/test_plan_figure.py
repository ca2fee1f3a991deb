from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.errors import UsageError
from anysize.reporting.labels import place_labels
from anysize.reporting.plan_figure import draw_plan
from anysize.reporting.size_cloud import needs_log_scale

Decoded = Callable[[Path], Image.Image]
SHARES = {"anysize (similar)": 0.031, "random batches": 0.305, "pad to the largest": 0.62}


def random_sizes(num_images: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.exp(random.normal(6, 0.6, (num_images, 2))).astype(int) + 1


CASES = {
    "one image of one pixel": (np.array([[1, 1]]), [(1, 1)]),
    "all equal": (np.full((50, 2), 224), [(224, 224)]),
    "one long side": (np.array([[5000, 80], [80, 5000], [1, 1]]), [(5000, 80), (80, 5000)]),
    "one width, many heights": (np.stack([np.arange(1, 4001), np.full(4000, 512)], 1), [(4000, 512)]),
    "100,000 images": (random_sizes(100_000), [(512, 512), (1024, 768), (4000, 4000)]),
    "more canvases than can be outlined": (
        random_sizes(500),
        [(int(h), int(w)) for h, w in random_sizes(400, 1)],
    ),
    "no canvases": (random_sizes(10), []),
}


@pytest.mark.parametrize("case", CASES)
def test_plan_is_drawn(tmp_path: Path, decoded: Decoded, case: str) -> None:
    sizes, canvases = CASES[case]
    counts = list(range(1, len(canvases) + 1))
    path = tmp_path / "plots" / "plan.png"
    draw_plan(path, sizes=sizes, canvases=canvases, canvas_counts=counts, shares=SHARES, title=case)
    assert decoded(path).size == (1540, 742)
    assert list(path.parent.iterdir()) == [path]


def test_shares_may_be_zero_whole_or_none(tmp_path: Path, decoded: Decoded) -> None:
    for index, shares in enumerate(({}, {"one by one": 0.0}, {"$all$ of\nit": 1.0, "nothing": 0.0})):
        path = tmp_path / f"{index}.png"
        draw_plan(path, sizes=[(3, 5)], canvases=[], canvas_counts=[], shares=shares, title="$x")
        decoded(path)


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_plan(
            tmp_path / name,
            sizes=random_sizes(50),
            canvases=[(512, 512)],
            canvas_counts=[50],
            shares=SHARES,
            title="Plan",
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "sizes has shape (0,); (N, 2) with N >= 1 is needed, (height, width) a row"),
        ({"sizes": [(3, 4), (0, 7)]}, "sizes[1] is below 1 pixel; heights and widths start at 1"),
        (
            {"canvas_counts": []},
            "there are 1 canvases and 0 canvas_counts; one count for each canvas is needed",
        ),
        ({"shares": {"a": 1.2}}, "the padding share of 'a' is 1.2; it must lie in 0..1"),
        ({"highlight": "c"}, "highlight is 'c'; it must be one of a, b"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    arguments = {
        "sizes": [(3, 4)],
        "canvases": [(3, 4)],
        "canvas_counts": [1],
        "shares": {"a": 0.1, "b": 0.2},
        "title": "Plan",
    }
    with pytest.raises(UsageError) as caught:
        draw_plan(tmp_path / "plan.png", **{**arguments, **changes})
    assert caught.value.message == message
    assert not list(tmp_path.iterdir())


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
