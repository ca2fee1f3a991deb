"""Plans on a few static canvases: nothing lost, nothing twice, full batches on one canvas, ranks alike."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anysize.batching import CanvasSet, choose_canvases, dealing, padding_share, plan_epoch
from anysize.batching.dealing import deal
from anysize.errors import PlanError
from plan_checks import AWKWARD, check, random_sizes


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("mixing", ["similar", "mixed"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_awkward_sizes(name, mixing, shuffle):
    sizes = np.array(AWKWARD[name])
    largest = int(sizes.prod(axis=1).max())
    for max_canvases in (1, 3, 16):
        for max_pixels in (None, largest, 3 * largest + 1):
            chosen = choose_canvases(sizes, max_canvases, multiple_of=1, launch_pixels=0, max_pixels=max_pixels)
            assert 1 <= len(chosen) <= max_canvases
            for batch_size in (1, 7, 1000):
                for num_ranks in (1, 3, 8):
                    limits = {"max_pixels": max_pixels, "num_ranks": num_ranks, "canvases": chosen}
                    plan = plan_epoch(sizes, batch_size, mixing=mixing, shuffle=shuffle, launch_pixels=0, **limits)
                    check(plan, sizes, batch_size, **limits)


@settings(max_examples=400, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=70),
    max_canvases=st.integers(1, 9),
    own_share=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    batch_size=st.integers(1, 40),
    num_ranks=st.integers(1, 6),
    mixing=st.sampled_from(["similar", "mixed"]),
    shuffle=st.booleans(),
    multiple_of=st.sampled_from([1, 2, 8, 32]),
    room=st.none() | st.integers(0, 20_000),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 100),
    launch_pixels=st.sampled_from([0, 100, 5_000, np.inf]),
)
def test_invariants(sizes, max_canvases, own_share, batch_size, num_ranks, multiple_of, room, launch_pixels, **options):
    rounded = -(-np.array(sizes) // multiple_of) * multiple_of
    max_pixels = None if room is None else int(rounded.prod(axis=1).max()) + room
    chosen = choose_canvases(
        sizes,
        max_canvases,
        multiple_of=multiple_of,
        own_share=own_share,
        launch_pixels=launch_pixels,
        max_pixels=max_pixels,
    )
    assert len(chosen) <= max_canvases
    if max_pixels is None:  # else images may fit on no canvas
        assert chosen.own_share <= own_share
    assert (chosen.sizes() % multiple_of == 0).all()
    where = chosen.assign(sizes)
    assert (where == -1).sum() == chosen.num_own
    canvases = rounded.copy()
    canvases[where >= 0] = chosen.sizes()[where[where >= 0]]
    assert (canvases >= rounded).all()
    assert canvases.prod(axis=1).sum() == chosen.canvas_pixels
    assert np.array(sizes).prod(axis=1).sum() == chosen.real_pixels
    limits = {"max_pixels": max_pixels, "num_ranks": num_ranks, "canvases": chosen}
    plan = plan_epoch(sizes, batch_size, launch_pixels=launch_pixels, **limits, **options)
    check(plan, sizes, batch_size, multiple_of=multiple_of, **limits)
    assert plan == plan_epoch(np.array(sizes, np.uint16), batch_size, launch_pixels=launch_pixels, **limits, **options)


def test_images_lie_on_the_smallest_canvas_that_holds_them_up_to_its_very_edge():
    chosen = CanvasSet(((8, 8), (8, 16), (16, 16)))
    sizes = [(8, 8), (8, 9), (9, 8), (1, 1), (8, 16), (9, 16), (16, 16), (17, 1), (1, 17)]
    assert chosen.assign(sizes).tolist() == [0, 1, 2, 0, 1, 2, 2, -1, -1]


@pytest.mark.parametrize("multiple_of", [1, 8])
def test_repeated_sizes_get_canvases_of_exactly_their_size(multiple_of):
    sizes = [(375, 500), (500, 375), (333, 500), (96, 104)] * 50
    chosen = choose_canvases(sizes, 4, multiple_of=multiple_of)
    exact = {(-(-h // multiple_of) * multiple_of, -(-w // multiple_of) * multiple_of) for h, w in sizes}
    assert set(chosen.canvases) == exact
    plan = plan_epoch(sizes, 32, canvases=chosen, launch_pixels=0)
    assert {m.canvas for step in plan for m in step.micro_batches} == exact


def test_no_more_canvases_than_help():
    assert choose_canvases([(40, 50)] * 100, 8, multiple_of=1).canvases == ((40, 50),)


def test_few_outliers_get_canvases_of_their_own_where_that_saves_more_than_a_launch():
    sizes = [(50, 50)] * 97 + [(50, 400), (400, 50), (300, 300)]
    cheap = choose_canvases(sizes, 1, multiple_of=1, launch_pixels=0)
    assert (cheap.canvases, cheap.num_own) == (((50, 50),), 3)
    fewer = choose_canvases(sizes, 1, multiple_of=1, own_share=0.02, launch_pixels=0)
    assert fewer.num_own <= 2
    dear = choose_canvases(sizes, 1, multiple_of=1, launch_pixels=1e9)
    assert (dear.canvases, dear.num_own) == (((400, 400),), 0)


@pytest.mark.parametrize("max_canvases", [1, 2, 3])
def test_the_search_finds_what_trying_everything_finds(max_canvases):
    """Few sizes, some of them of many images: where a search that moves one canvas at a time gets stuck."""
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(40):
        distinct = rng.integers(1, 21, (rng.integers(2, 7), 2)) * 8
        sizes = np.repeat(distinct, rng.integers(1, 9, len(distinct)), axis=0)
        found = choose_canvases(sizes, max_canvases, own_share=0)
        ratios.append(found.canvas_pixels / _best(sizes, max_canvases))
    assert max(ratios) <= 1.05
    assert np.mean(ratios) <= 1.001


def _best(sizes, max_canvases) -> int:
    """The fewest pixels, over all choices of so many canvases."""
    heights, widths = (np.unique(sides) for sides in sizes.T)
    places = np.array([(height, width) for height in heights for width in widths])
    areas = places.prod(axis=1)
    costs = np.where((places[None] >= sizes[:, None]).all(axis=2), areas, 10**9)  # (N, places)
    chosen = itertools.combinations_with_replacement(range(len(places)), max_canvases)
    return int(min(costs[:, list(numbers)].min(axis=1).sum() for numbers in chosen))


def test_full_steps_lie_on_one_canvas_and_small_buckets_spill():
    sizes = [(10, 10)] * 70 + [(20, 20)] * 40
    chosen = CanvasSet(((10, 10), (20, 20)))
    plan = plan_epoch(sizes, 32, canvases=chosen, launch_pixels=np.inf)
    # 64 of 70 small ones make two steps; 6 spill: 46 large ones make one step and the short one.
    batches = sorted((m.canvas, len(m.indices)) for step in plan for m in step.micro_batches)
    assert batches == [((10, 10), 32), ((10, 10), 32), ((20, 20), 14), ((20, 20), 32)]
    stays = plan_epoch(sizes, 32, canvases=chosen, launch_pixels=0)
    batches = sorted((m.canvas, len(m.indices)) for step in stays for m in step.micro_batches)
    assert batches == [((10, 10), 6), ((10, 10), 32), ((10, 10), 32), ((20, 20), 8), ((20, 20), 32)]
    assert sorted(step.num_images for step in stays) == [14, 32, 32, 32]


def test_mixed_steps_merge_canvases_where_that_costs_less_than_a_launch():
    sizes = [(10, 10)] * 3 + [(20, 20)] * 5
    chosen = CanvasSet(((10, 10), (20, 20)))
    [step] = plan_epoch(sizes, 8, mixing="mixed", canvases=chosen, launch_pixels=900)
    assert [(m.canvas, len(m.indices)) for m in step.micro_batches] == [((20, 20), 8)]
    [step] = plan_epoch(sizes, 8, mixing="mixed", canvases=chosen, launch_pixels=899)
    assert [(m.canvas, len(m.indices)) for m in step.micro_batches] == [((20, 20), 5), ((10, 10), 3)]


@pytest.mark.parametrize("num_ranks", [2, 8, 64, 1024])
def test_ranks_of_similar_steps_cost_the_same(num_ranks):
    sizes = random_sizes(70 * num_ranks)
    chosen = choose_canvases(sizes[:5000], 8, multiple_of=8)
    plan = plan_epoch(sizes, 32 * num_ranks, canvases=chosen, num_ranks=num_ranks)
    for step in plan:
        if len({m.canvas for m in step.micro_batches}) == 1 and step.num_images == 32 * num_ranks:
            assert {len(m.indices) for m in step.micro_batches} == {32}


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    alone=st.lists(st.integers(1, 5000), max_size=6),
    num_ranks=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_dealing_is_as_even_as_one_image_at_a_time(counts, alone, num_ranks, seed):
    rng = np.random.default_rng(seed)
    areas = np.concatenate([np.sort(rng.integers(1, 500, len(counts))), alone]).astype(np.int64)
    canvases = np.concatenate([np.repeat(np.arange(len(counts)), counts), len(counts) + np.arange(len(alone))])
    if not len(canvases):
        return
    canvases = np.tile(rng.permutation(canvases), 3).astype(np.int64)
    steps = np.repeat(np.arange(3), len(canvases) // 3)
    ranks = deal(steps, canvases, areas, len(counts), num_ranks)
    assert ((ranks >= 0) & (ranks < num_ranks)).all()
    for step in range(3):
        mine = areas[canvases[steps == step]]
        loads = np.bincount(ranks[steps == step], weights=mine, minlength=num_ranks)
        # No rank could hand its smallest image to the idlest one and be better off.
        assert loads.max() - loads.min() <= mine.max()
        if not alone:  # as one by one, each to the rank with the least
            greedy = np.zeros(num_ranks)
            for area in sorted(mine, reverse=True):
                greedy[greedy.argmin()] += area
            assert sorted(loads) == sorted(greedy)


def test_augmented_sizes_that_no_canvas_holds_lie_on_their_own():
    chosen = choose_canvases([(40, 40)] * 30, 2, multiple_of=8)
    plan = plan_epoch([(40, 40)] * 30 + [(41, 47)], 31, mixing="mixed", canvases=chosen)
    check(plan, [(40, 40)] * 30 + [(41, 47)], 31, canvases=chosen, multiple_of=8)
    assert {m.canvas for step in plan for m in step.micro_batches} == {(40, 40), (48, 48)}


def test_max_canvases_chooses_them_from_the_sizes():
    sizes = random_sizes(2000)
    plan = plan_epoch(sizes, 32, max_canvases=6, multiple_of=8)
    chosen = choose_canvases(sizes, 6, multiple_of=8)
    assert plan == plan_epoch(sizes, 32, canvases=chosen)
    assert padding_share(plan, sizes) < padding_share(plan_epoch(sizes, 32, max_canvases=3, multiple_of=8), sizes)


def test_sizes_that_fit_exactly_on_canvases_get_no_canvas_of_their_own():
    sizes = [(100, 100)] * 96 + [(100, 400), (400, 100), (300, 300), (200, 200)]
    for launch_pixels in (0, 1000):
        chosen = choose_canvases(sizes, 5, multiple_of=1, launch_pixels=launch_pixels)
        assert (len(chosen), chosen.num_own, chosen.padding_share) == (5, 0, 0)
    voc = [(375, 500)] * 4800 + [(500, 375)] * 4800
    voc += [(333, 500), (500, 333), (400, 500), (500, 500)] * 100
    assert (len(choose_canvases(voc, 8)), choose_canvases(voc, 8).num_own) == (6, 0)


def test_no_canvas_is_larger_than_the_limit():
    sizes = np.random.default_rng(0).integers(200, 1000, (500, 2))
    largest = int((-(-sizes // 8) * 8).prod(axis=1).max())
    chosen = choose_canvases(sizes, 8, max_pixels=largest)
    free = choose_canvases(sizes, 8, own_share=0)
    assert max(h * w for h, w in chosen.canvases) <= largest < max(h * w for h, w in free.canvases)
    check(plan_epoch(sizes, 32, canvases=chosen, max_pixels=largest), sizes, 32, multiple_of=8, canvases=chosen)
    with pytest.raises(PlanError, match=r"a static canvas is \d+x\d+ .* more than max_pixels="):
        plan_epoch(sizes, 32, canvases=free, max_pixels=largest)


def test_a_set_of_canvases_is_checked_and_put_in_order():
    assert CanvasSet([[16, 16], (8, 8), (8, 8)]).canvases == ((8, 8), (16, 16))
    assert CanvasSet(((16, 16), (8, 8))).assign([(8, 8)]).tolist() == [0]
    for canvases, multiple_of, message in (
        (((7, 7),), 8, "multiples of multiple_of=8 are needed"),
        (((-4, 4),), 1, "each side must be 1 to"),
        (((4, 4),), 0, "multiple_of is 0"),
        (((4, 4, 4),), 1, r"sizes have shape \(1, 3\)"),
    ):
        with pytest.raises(PlanError, match=message):
            CanvasSet(canvases, multiple_of)
    with pytest.raises(PlanError, match="canvases are of type list; a CanvasSet is needed"):
        plan_epoch([(8, 8)], 1, canvases=[(8, 8)])
    with pytest.raises(PlanError, match="multiple_of is 32, and that of the canvases 8"):
        plan_epoch([(8, 8)], 1, canvases=CanvasSet(((8, 8),), 8), multiple_of=32)


def test_many_steps_ranks_and_canvases_are_dealt_in_parts(monkeypatch):
    sizes = random_sizes(4000)
    limits = {"canvases": choose_canvases(sizes, 8), "num_ranks": 7, "mixing": "mixed"}
    whole = plan_epoch(sizes, 50, **limits)
    monkeypatch.setattr(dealing, "_CELLS", 300)
    assert plan_epoch(sizes, 50, **limits) == whole


def test_errors_name_the_value_and_the_fix():
    with pytest.raises(PlanError, match="max_canvases and canvases are both given"):
        plan_epoch([(3, 4)], 1, max_canvases=2, canvases=CanvasSet(((4, 4),)))
    with pytest.raises(PlanError, match="max_canvases is 0; an integer of at least 1"):
        choose_canvases([(3, 4)], 0)
    with pytest.raises(PlanError, match=r"own_share is 1\.5; a share of the images"):
        choose_canvases([(3, 4)], 1, own_share=1.5)
    with pytest.raises(PlanError, match="launch_pixels is -1"):
        choose_canvases([(3, 4)], 1, launch_pixels=-1)
    with pytest.raises(PlanError, match="pool says how much is shuffled"):
        plan_epoch([(3, 4)], 1, pool=4, shuffle=False)
