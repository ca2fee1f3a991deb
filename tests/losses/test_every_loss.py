"""The contract of all losses: formula, gradient, ignored pixels, padding, batches of any make-up, corner cases."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_formulas import FORMULAS, IGNORED, Image, ce, each, focal, ohem, slope, tversky_value
from torch import Tensor

from anysize.losses import Loss, create_loss, list_losses
from anysize.ragged import RaggedBatch, RaggedGroup

K = 4
SIZES = ((3, 5), (4, 2), (1, 1), (2, 6))
WEIGHTS = (0.5, 2.0, 0.0, 1.25)
VARIANTS: dict[str, tuple[str, dict[str, Any], Callable[[Sequence[Image]], tuple[float, float]]]] = {
    **{name: (name, {}, formula) for name, formula in FORMULAS.items()},
    "ce_weighted": ("ce", {"class_weights": WEIGHTS}, lambda images: ce(images, WEIGHTS)),
    "ce_smooth": ("ce", {"label_smoothing": 0.2}, lambda images: ce(images, None, 0.2)),
    "ce_both": ("ce", {"class_weights": WEIGHTS, "label_smoothing": 0.1}, lambda images: ce(images, WEIGHTS, 0.1)),
    "focal_weighted": ("focal", {"class_weights": WEIGHTS}, lambda images: focal(images, WEIGHTS)),
    "focal_0.5": ("focal", {"options": {"gamma": 0.5}}, lambda images: focal(images, None, 0.5)),
    "focal_0": ("focal", {"options": {"gamma": 0}}, ce),
    "ohem_0.6": ("ohem", {"options": {"share": 0.6}}, lambda images: ohem(images, 0.6)),
    "ohem_smooth": ("ohem", {"label_smoothing": 0.1}, lambda images: ohem(images, smoothing=0.1)),
    "tversky_recall": (
        "tversky",
        {"options": {"alpha": 0.0, "beta": 1.0}},
        lambda images: each(images, tversky_value(0.0, 1.0)),
    ),
}


def draw(sizes: Sequence[tuple[int, ...]], seed: int = 0, ignored: float = 0.3, classes: int = K) -> list[Image]:
    """Logits and targets, some of them ignored; the last class is nowhere."""
    random = np.random.default_rng(seed)
    images = []
    for size in sizes:
        targets = random.integers(0, classes - 1, size)
        targets[random.random(size) < ignored] = IGNORED
        images.append((2 * random.normal(size=(classes, *size)), targets))
    return images


def tensors(images: Sequence[Image]) -> tuple[list[Tensor], list[Tensor]]:
    return [torch.from_numpy(x.copy()).requires_grad_() for x, _ in images], [torch.from_numpy(t) for _, t in images]


def laid(logits: Sequence[Tensor], targets: Sequence[Tensor], kind: str) -> tuple[Any, Any]:
    """The same images as one of the things that a loss takes."""
    if kind == "group":
        pairs = [laid(logits[a:b], targets[a:b], "ragged") for a, b in ((0, 1), (1, len(logits)))]
        return RaggedGroup([x for x, _ in pairs]), RaggedGroup([t for _, t in pairs])
    x = RaggedBatch.from_images(list(logits))
    if kind == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    wider = [extent + 3 for extent in x.extents]
    t = RaggedBatch.from_labels(list(targets), canvas=wider if kind == "wider" else None)
    if kind == "plain":
        return x, torch.where(t.mask, t.canvas, 7)  # what lies around the images is not looked at
    if kind == "dense":
        return torch.where(x.mask, x.canvas, torch.nan), torch.where(t.mask, t.canvas, IGNORED)
    return x, t


KINDS = ("ragged", "group", "channels_last", "wider", "plain", "dense")


def make(name: str, classes: int = K, **more: Any) -> Loss:
    return create_loss(name, num_classes=classes, **more)


def test_every_loss_has_its_formula() -> None:
    assert list_losses() == sorted(FORMULAS)


@pytest.mark.parametrize("variant", VARIANTS)
class TestFormula:
    def test_values_and_gradients(self, variant: str) -> None:
        name, settings_, formula = VARIANTS[variant]
        loss = make(name, **settings_)
        images = draw(SIZES, seed=3)
        total, count = formula(images)
        gradients = slope(formula, images)
        assert count > 1
        for kind in KINDS:
            logits, targets = tensors(images)
            x, t = laid(logits, targets, kind)
            result = loss(x, t)
            assert result.count == pytest.approx(count, rel=1e-14)
            assert result.total.dim() == 0
            assert float(result.total.detach()) == pytest.approx(total, rel=1e-12)
            result.total.backward()
            for leaf, truth in zip(logits, gradients, strict=True):
                np.testing.assert_allclose(leaf.grad.numpy(), truth, rtol=1e-6, atol=2e-8)
            if kind != "plain":
                assert loss.count(t) == result.count


@pytest.mark.parametrize("name", list_losses())
def test_many_classes(name: str) -> None:
    """Rows of nine classes, which are gathered in another way where they lie together; some images without a class."""
    for seed in range(4):
        images = draw([(3, 5), (4, 3), (1, 7)], seed, ignored=0.2 * seed, classes=9)
        total, count = FORMULAS[name](images)
        truth = slope(FORMULAS[name], images) if seed == 1 else None
        for kind in ("ragged", "channels_last"):
            logits, targets = tensors(images)
            result = make(name, 9)(*laid(logits, targets, kind))
            assert (result.count, float(result.total.detach())) == pytest.approx((count, total), rel=1e-12)
            result.total.backward()
            for leaf, slopes in zip(logits, truth or [], strict=False):
                np.testing.assert_allclose(leaf.grad.numpy(), slopes, rtol=1e-6, atol=2e-8)


POISONS = (torch.nan, torch.inf, -torch.inf, 1e30, 12345.0)


@pytest.mark.parametrize("name", list_losses())
class TestWhatDoesNotCount:
    @settings(max_examples=25, deadline=None)
    @given(
        sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=2, max_size=4),
        poison=st.sampled_from(POISONS),
        kind=st.sampled_from(KINDS),
        ignored=st.sampled_from([0.0, 0.4, 0.95, 1.0]),
        seed=st.integers(0, 1000),
    )
    def test_nothing_changes(self, name: str, sizes: Any, poison: float, kind: str, ignored: float, seed: int) -> None:
        """Whatever lies in the padding, of logits and targets, or under an ignored pixel."""
        images = draw(sizes, seed, ignored)
        loss = make(name)
        results = []
        for poisoned in (False, True):
            logits, targets = tensors(images)
            if poisoned:
                with torch.no_grad():
                    for x, t in zip(logits, targets, strict=True):
                        x[:, t == IGNORED] = poison
            x, t = laid(logits, targets, kind)
            if poisoned:
                x, t = around(x, poison), around(t, 213)
            result = loss(x, t)
            result.total.backward()
            results.append((result.total.detach(), result.count, [x.grad for x in logits]))
        (total, count, gradients), (other_total, other_count, other_gradients) = results
        assert torch.equal(total, other_total)
        assert count == other_count
        for (_, target), mine, its in zip(images, gradients, other_gradients, strict=True):
            assert torch.equal(mine, its)
            assert not its[:, torch.from_numpy(target == IGNORED)].any()
            assert its.isfinite().all()


def around(value: Any, poison: float) -> Any:
    """Other numbers in the padding of ragged batches."""
    if isinstance(value, RaggedGroup):
        return RaggedGroup([around(part, poison) for part in value.parts])
    if not isinstance(value, RaggedBatch):
        return value
    canvas = torch.where(value.mask, value.canvas, torch.full((), poison, dtype=value.dtype))
    return RaggedBatch.laid_out(canvas, value.lengths, type(value.padding).UNKNOWN, value.layout, value.extents)


@pytest.mark.parametrize("name", list_losses())
class TestBatches:
    def test_a_batch_is_its_images_one_at_a_time(self, name: str) -> None:
        loss = make(name)
        images = draw(((7, 9), (11, 3), (1, 1), (5, 5), (2, 8)), seed=5)
        if not loss.splits_exactly:
            images = images[:1]
        logits, targets = tensors(images)
        alone = [loss(x[None], t[None]) for x, t in zip(logits, targets, strict=True)]
        total = sum(result.total for result in alone)
        count = sum(result.count for result in alone)
        truth = torch.autograd.grad(total, logits)
        kinds = KINDS if len(images) > 1 else [kind for kind in KINDS if kind != "group"]
        for kind in kinds:
            result = loss(*laid(logits, targets, kind))
            assert result.count == count
            torch.testing.assert_close(result.total, total, rtol=1e-13, atol=1e-13)
            for mine, its in zip(torch.autograd.grad(result.total, logits), truth, strict=True):
                torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-14)

    def test_micro_batches_add_up(self, name: str) -> None:
        loss = make(name)
        logits, targets = tensors(draw(((4, 4), (6, 2), (3, 3), (5, 1)), seed=9))
        whole = loss(*laid(logits, targets, "ragged"))
        parts = [loss(*laid(logits[a:b], targets[a:b], "ragged")) for a, b in ((0, 1), (1, 3), (3, 4))]
        assert sum(part.count for part in parts) == whole.count
        same = float(sum(part.total for part in parts).detach()) == pytest.approx(
            float(whole.total.detach()), rel=1e-13
        )
        assert same is loss.splits_exactly

    def test_one_and_three_axes(self, name: str) -> None:
        for sizes in (((7,), (4,)), ((2, 3, 4), (3, 2, 2))):
            images = draw(sizes, seed=2)
            logits, targets = tensors(images)
            result = make(name)(*laid(logits, targets, "ragged"))
            total, count = FORMULAS[name](images)
            assert (result.count, float(result.total.detach())) == pytest.approx((count, total), rel=1e-12)

    def test_bytes_and_other_labels(self, name: str) -> None:
        logits, targets = tensors(draw(SIZES, seed=4))
        truth = make(name)(*laid(logits, targets, "ragged")).total
        few = [target.to(torch.uint8) for target in targets]
        assert torch.equal(make(name)(*laid(logits, few, "ragged")).total, truth)
        minus = [torch.where(target == IGNORED, -1, target) for target in targets]
        assert torch.equal(make(name, ignore_label=-1)(*laid(logits, minus, "ragged")).total, truth)


@pytest.mark.parametrize("name", list_losses())
class TestCorners:
    def test_everything_ignored(self, name: str) -> None:
        logits, _ = tensors(draw(SIZES))
        targets = [torch.full(size, IGNORED) for size in SIZES]
        for kind in KINDS:
            x, t = laid(logits, targets, kind)
            if kind == "plain":
                t = torch.full_like(t, IGNORED)
            result = make(name)(x, t)
            assert (float(result.total.detach()), result.count, make(name).count(t)) == (0, 0, 0)
            for gradient in torch.autograd.grad(result.total, logits):
                assert not gradient.any()

    def test_one_image_ignored_is_as_if_it_were_not_there(self, name: str) -> None:
        logits, targets = tensors(draw(SIZES))
        targets[1] = torch.full_like(targets[1], IGNORED)
        whole = make(name)(*laid(logits, targets, "ragged"))
        rest = make(name)(*laid([*logits[:1], *logits[2:]], [*targets[:1], *targets[2:]], "ragged"))
        assert whole.count == rest.count
        torch.testing.assert_close(whole.total, rest.total, rtol=1e-14, atol=0)

    def test_single_pixels(self, name: str) -> None:
        images = draw([(1, 1)] * 3, ignored=0.0)
        logits, targets = tensors(images)
        result = make(name)(*laid(logits, targets, "ragged"))
        total, count = FORMULAS[name](images)
        assert (result.count, float(result.total.detach())) == pytest.approx((count, total), rel=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_worked_in_single(self, name: str, dtype: torch.dtype) -> None:
        logits, targets = tensors(draw(((40, 60), (30, 50))))
        half = [x.detach().to(dtype).requires_grad_() for x in logits]
        single = [x.detach().float().requires_grad_() for x in half]
        results = [make(name)(*laid(x, targets, "ragged")) for x in (half, single)]
        assert results[0].total.dtype == torch.float32
        torch.testing.assert_close(results[0].total, results[1].total, rtol=1e-6, atol=0)
        mine, its = (torch.autograd.grad(r.total, x) for r, x in zip(results, (half, single), strict=True))
        for one, other in zip(mine, its, strict=True):
            assert one.dtype == dtype
            torch.testing.assert_close(one.float(), other, rtol=2e-2, atol=1e-6)

    def test_certain_of_the_wrong_and_of_the_right(self, name: str) -> None:
        """Logits so far apart that probabilities are 0 and 1: finite, whatever the loss."""
        targets = torch.tensor([[[0, 1], [2, 0]]])
        right = 1e4 * torch.nn.functional.one_hot(targets, K).movedim(-1, 1).float()
        for logits in (right, -right, 1e6 * right):
            logits.requires_grad_()
            result = make(name)(logits, targets)
            result.total.backward()
            assert result.total.isfinite()
            assert logits.grad.isfinite().all()
        assert float(make(name)(right, targets).total.detach()) == pytest.approx(0, abs=1e-6)

    def test_better_answers_cost_less(self, name: str) -> None:
        logits, targets = tensors(draw(SIZES))
        x, t = laid(logits, targets, "dense")
        truth = torch.nn.functional.one_hot(torch.where(t == IGNORED, 0, t), K).movedim(-1, 1).double()
        totals = [float(make(name)(x.detach() + lift * truth, t).total) for lift in (-3, 0, 3, 30)]
        assert totals == sorted(totals, reverse=True)
        assert len(set(totals)) == 4


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_focal_of_a_certain_answer(gamma: float) -> None:
    """A power below 1 is infinitely steep where 1 - p is 0: the gradient is zero there all the same."""
    targets = torch.tensor([[[0, 1], [2, 0]]])
    logits = (1e4 * torch.nn.functional.one_hot(targets, K).movedim(-1, 1).float()).requires_grad_()
    result = make("focal", options={"gamma": gamma})(logits, targets)
    (gradient,) = torch.autograd.grad(result.total, logits)
    assert float(result.total.detach()) == 0
    assert not gradient.any()
