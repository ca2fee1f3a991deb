"""What cannot be planned is refused, with the fix: each message in full."""

import numpy as np
import pytest

from anysize.batching import plan_epoch
from anysize.errors import PlanError

WHOLE = "\nhint: heights and widths are whole pixels"
PAIRS = "\nhint: give one (height, width) for each image"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "there are no images: sizes is empty" + PAIRS),
        (np.zeros((0, 2), int), "there are no images: sizes is empty" + PAIRS),
        ([3, 4], "sizes have shape (2,); (number of images, 2) is needed" + PAIRS),
        ([(3, 4, 5)], "sizes have shape (1, 3); (number of images, 2) is needed" + PAIRS),
        ([(3, 4), (5,)], "sizes are not all pairs" + PAIRS),
        (
            [(3.0, 4.0)],
            "sizes are of type float64; integers are needed\nhint: heights and widths are whole pixels",
        ),
        (
            [(True, True)],
            "sizes are of type bool; integers are needed\nhint: heights and widths are whole pixels",
        ),
        (
            [(3, 4), (0, 4), (3, -1)],
            "2 images of 3 cannot be: image 1 is 0x4 (height x width); "
            "each side must be 1 to 1048576 pixels\n"
            "hint: leave such images out, or measure them again",
        ),
        (
            [(3, 4), (3, 2**20 + 1)],
            "1 image of 2 cannot be: image 1 is 3x1048577 (height x width); "
            "each side must be 1 to 1048576 pixels\n"
            "hint: leave such images out, or measure them again",
        ),
    ],
)
def test_sizes(sizes, message):
    with pytest.raises(PlanError) as caught:
        plan_epoch(sizes, 2)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; an integer of at least 1 is needed"),
        ({"batch_size": 1.5}, "batch_size is 1.5; an integer of at least 1 is needed"),
        ({"batch_size": True}, "batch_size is True; an integer of at least 1 is needed"),
        ({"num_ranks": 0}, "num_ranks is 0; an integer of at least 1 is needed"),
        ({"max_pixels": -5}, "max_pixels is -5; an integer of at least 1 is needed"),
        ({"multiple_of": 0}, "multiple_of is 0; an integer of at least 1 is needed"),
        ({"mixing": "random"}, "mixing is 'random'; 'similar' or 'mixed' is needed"),
        ({"jitter": 1}, "jitter is 1; a number of at least 0 and less than 1 is needed"),
        ({"jitter": float("nan")}, "jitter is nan; a number of at least 0 and less than 1 is needed"),
        ({"launch_pixels": -1}, "launch_pixels is -1; a number of at least 0 is needed"),
        ({"seed": 0.5}, "seed is 0.5; an integer is needed"),
        ({"epoch": None}, "epoch is None; an integer is needed"),
    ],
)
def test_options(options, message):
    with pytest.raises(PlanError) as caught:
        plan_epoch([(3, 4)], **{"batch_size": 2, **options})
    assert str(caught.value) == message


def test_images_over_the_limit():
    with pytest.raises(PlanError) as caught:
        plan_epoch([(10, 10), (50, 20), (30, 40), (10, 80)], 2, max_pixels=799)
    assert str(caught.value) == (
        "3 images of 4 need more than max_pixels=799; the largest is image 2: its canvas alone is 30x40 "
        "(height x width), 1200 pixels\n"
        "hint: --max-pixels 1200, or --max-side 32 so that all images fit in 799"
    )
    with pytest.raises(PlanError, match=r"hint: --max-pixels 1600, or --max-side 30 so that"):
        plan_epoch([(40, 40)], 2, max_pixels=900)


def test_one_image_over_the_limit_by_rounding_alone():
    sizes = [(8, 8), (9, 8)]
    assert plan_epoch(sizes, 2, max_pixels=72).num_images == 2
    with pytest.raises(PlanError) as caught:
        plan_epoch(sizes, 2, max_pixels=127, multiple_of=8)
    assert str(caught.value) == (
        "1 image of 2 needs more than max_pixels=127; the largest is image 1: its canvas alone is 16x8 "
        "(height x width), 128 pixels\nhint: --max-pixels 128, or --max-side 8 so that all images fit in 127"
    )


def test_no_side_is_advised_where_none_helps():
    with pytest.raises(PlanError) as caught:
        plan_epoch([(9, 8)], 2, max_pixels=63, multiple_of=8)
    assert str(caught.value) == (
        "1 image of 1 needs more than max_pixels=63; the largest is image 0: its canvas alone is 16x8 "
        "(height x width), 128 pixels\nhint: --max-pixels 128"
    )


@pytest.mark.parametrize("seed", range(30))
def test_the_advised_fixes_work(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 300, (50, 2))
    multiple_of = int(rng.choice([1, 8, 32]))
    rounded = -(-sizes // multiple_of) * multiple_of
    max_pixels = int(rng.integers(multiple_of**2, rounded.prod(axis=1).max()))
    with pytest.raises(PlanError) as caught:
        plan_epoch(sizes, 8, max_pixels=max_pixels, multiple_of=multiple_of)
    words = str(caught.value.hint).replace(",", "").split()
    plan_epoch(sizes, 8, max_pixels=int(words[1]), multiple_of=multiple_of)
    with pytest.raises(PlanError):
        plan_epoch(sizes, 8, max_pixels=int(words[1]) - 1, multiple_of=multiple_of)
    side = int(words[words.index("--max-side") + 1])
    scale = np.minimum(1, side / sizes.max(axis=1, keepdims=True))
    shrunk = np.maximum(1, np.rint(sizes * scale)).astype(int)
    plan_epoch(shrunk, 8, max_pixels=max_pixels, multiple_of=multiple_of)


def test_ranks_outside_of_the_plan():
    plan = plan_epoch([(3, 4)], 2, num_ranks=2)
    for rank in (-1, 2):
        with pytest.raises(PlanError) as caught:
            plan.for_rank(rank)
        assert str(caught.value) == f"rank is {rank}; this plan is for ranks 0 to 1"
