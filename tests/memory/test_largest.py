"""The largest canvas that any epoch can ask for, in closed form."""

import numpy as np
import pytest

from anysize.data import Augmentation
from anysize.data.augment import draw_geometry
from anysize.data.augment import largest_sizes as largest_sides


@pytest.mark.parametrize("smallest_side", [1, 9])
@pytest.mark.parametrize("max_side", [None, 60, 500])
@pytest.mark.parametrize(("scale", "crop"), [((0.8, 1.25), 0.9), ((1.0, 1.0), 1.0), ((0.5, 0.9), 0.3)])
def test_no_draw_exceeds_the_largest_image(
    scale: tuple[float, float], crop: float, max_side: int | None, smallest_side: int
) -> None:
    rng = np.random.default_rng(0)
    shapes = [(100, 75), (75, 100), (3, 200), (9, 10), (200, 40), *rng.integers(1, 150, (60, 2)).tolist()]
    for height, width in shapes:
        sizes = np.repeat(np.array([[height, width]]), 300, axis=0)
        for aspect in ((1.0, 1.0), (0.7, 1.2)):
            augmentation = Augmentation(scale=scale, crop=crop, aspect=aspect)
            limits = {"max_side": max_side, "smallest_side": smallest_side}
            drawn = draw_geometry(sizes, np.arange(300), augmentation, seed=1, epoch=2, **limits).sizes
            bound = largest_sides(sizes[:1], augmentation, **limits)[0]
            assert (drawn.max(axis=0) <= bound).all(), (height, width, aspect)
            if aspect == (1.0, 1.0) and min(height, width) > 40 and scale[1] >= 1:
                assert bound.prod() <= 1.3 * drawn.prod(axis=1).max()
    plain = largest_sides(np.array(shapes), None, **limits)
    assert (plain == draw_geometry(shapes, range(len(shapes)), None, seed=0, epoch=0, **limits).sizes).all()
