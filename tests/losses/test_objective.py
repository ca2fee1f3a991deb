"""Weighted sums of losses, and the words in which they are asked for."""

import copy
import pickle
from typing import Any

import pytest
import torch
from loss_formulas import FORMULAS
from test_every_loss import draw, laid, tensors

from anysize.errors import UsageError
from anysize.losses import LossSum, Objective, create_loss, create_objective, list_losses, loss_options

SIZES = ((3, 5), (4, 2), (2, 6))


@pytest.mark.parametrize(
    ("spec", "terms", "shown"),
    [
        ("ce", [(1.0, "ce")], "ce"),
        ("ce+0.5*dice", [(1.0, "ce"), (0.5, "dice")], "ce+0.5*dice"),
        (" 2 * focal + .5*lovasz+1*ce ", [(2.0, "focal"), (0.5, "lovasz"), (1.0, "ce")], "2.0*focal+0.5*lovasz+ce"),
        ("1e+1*ce+1E-2*batch_dice", [(10.0, "ce"), (0.01, "batch_dice")], "10.0*ce+0.01*batch_dice"),
    ],
)
def test_what_a_line_means(spec: str, terms: list[tuple[float, str]], shown: str) -> None:
    objective = create_objective(spec, num_classes=3)
    assert [(term.weight, term.loss.name) for term in objective.terms] == terms
    assert objective.spec == shown
    assert create_objective(shown, num_classes=3) == objective
    assert objective.splits_exactly is ("batch_" not in spec)
    assert objective.takes_labels is (terms == [(1.0, "ce")])


def test_sums_of_means() -> None:
    """One pass, and several that are added up first: values and gradients."""
    images = draw(SIZES, seed=7)
    objective = create_objective("ce+0.5*dice+2*ohem", num_classes=4)
    means = {name: total / count for name in FORMULAS for total, count in [FORMULAS[name](images)]}
    wanted = means["ce"] + 0.5 * means["dice"] + 2 * means["ohem"]
    logits, targets = tensors(images)
    x, t = laid(logits, targets, "ragged")
    counts = objective.counts(t)
    sums = objective.sums(x, t)
    assert counts == tuple(term.count for term in sums)
    assert objective.value(sums, counts) == pytest.approx(wanted, rel=1e-12)
    combined = objective.combined(sums, counts)
    assert float(combined.detach()) == pytest.approx(wanted, rel=1e-12)
    truth = torch.autograd.grad(combined, logits)
    value, pieces = 0.0, []
    for a, b in ((0, 2), (2, 3)):
        part = objective.sums(*laid(logits[a:b], targets[a:b], "ragged"))
        value += objective.value(part, counts)
        pieces += torch.autograd.grad(objective.combined(part, counts), logits[a:b])
    assert value == pytest.approx(wanted, rel=1e-12)
    for mine, its in zip(pieces, truth, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-15)


def test_sums_without_tensors() -> None:
    """What a log keeps are numbers."""
    sums: Any = (LossSum(6.0, 3), LossSum(1.0, 2))  # type: ignore[arg-type]
    assert create_objective("ce+4*dice", num_classes=2).value(sums, (3, 2)) == 4.0


def test_a_term_of_which_nothing_counts_is_zero() -> None:
    objective = create_objective("ce+dice", num_classes=2)
    assert objective.scales((0, 4)) == (0.0, 0.25)
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    targets = torch.full((1, 3, 3), 255)
    sums = objective.sums(logits, targets)
    assert objective.counts(targets) == (0, 0)
    assert objective.value(sums, (0, 0)) == 0
    (gradient,) = torch.autograd.grad(objective.combined(sums, (0, 0)), logits)
    assert not gradient.any()


def test_options_reach_their_losses() -> None:
    objective = create_objective(
        "tversky+focal+ce",
        num_classes=3,
        ignore_label=7,
        class_weights=[1, 2, 3],
        label_smoothing=0.1,
        options=("focal.gamma=0.5", " tversky.beta = 8e-1 "),
    )
    tversky, focal, ce = (term.loss for term in objective.terms)
    assert (focal.gamma, tversky.alpha, tversky.beta) == (0.5, 0.3, 0.8)  # type: ignore[attr-defined]
    assert focal.class_weights == ce.class_weights == (1.0, 2.0, 3.0)
    assert (tversky.class_weights, focal.label_smoothing, ce.label_smoothing) == (None, 0.0, 0.1)
    assert tversky.ignore_label == 7
    weights = torch.tensor([1, 2, 3])
    assert create_loss("ce", num_classes=3, class_weights=weights).class_weights == (1.0, 2.0, 3.0)


def test_the_options_of_each_loss() -> None:
    options = {name: loss_options(name) for name in list_losses() if loss_options(name)}
    assert options == {"focal": {"gamma": 2.0}, "ohem": {"share": 0.25}, "tversky": {"alpha": 0.3, "beta": 0.7}}


def test_an_objective_travels() -> None:
    objective = create_objective("ce+dice", num_classes=3, class_weights=[1, 2, 3])
    assert isinstance(objective, Objective)
    assert pickle.loads(pickle.dumps(objective)) == copy.deepcopy(objective) == objective  # noqa: S301


ALL = "batch_dice, batch_jaccard, ce, dice, focal, jaccard, lovasz, ohem and tversky"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "ce+",
        {},
        "'' in the loss 'ce+' cannot be read; NAME or FACTOR*NAME, joined by +, is required\n"
        "hint: for example ce, ce+dice or ce+0.5*dice",
    ),
    (
        "ce dice",
        {},
        "'ce dice' in the loss 'ce dice' cannot be read; NAME or FACTOR*NAME, joined by +, is required\n"
        "hint: for example ce, ce+dice or ce+0.5*dice",
    ),
    (
        "1.2.3*ce",
        {},
        "'1.2.3*ce' in the loss '1.2.3*ce' cannot be read; NAME or FACTOR*NAME, joined by +, is required\n"
        "hint: for example ce, ce+dice or ce+0.5*dice",
    ),
    ("ce+ce", {}, "the loss 'ce+ce' names ce twice\nhint: once, with a factor: 2*ce"),
    (
        "ce+-1*dice",
        {},
        "the factor of dice in the loss 'ce+-1*dice' is -1; a positive number is required\n"
        "hint: leave dice out, or give it a positive factor",
    ),
    ("ce+dicee", {}, f"there is no loss 'dicee'\nhint: did you mean dice? there are {ALL}"),
    ("xyz", {}, f"there is no loss 'xyz'\nhint: there are {ALL}"),
    (
        "ce",
        {"options": ("gamma=2",)},
        "the loss option 'gamma=2' cannot be read; LOSS.OPTION=VALUE is required\nhint: the loss 'ce' has no options",
    ),
    (
        "ce+focal",
        {"options": ("tversky.alpha=2",)},
        "the loss option 'tversky.alpha=2' names no option of the loss 'ce+focal'\n"
        "hint: the loss 'ce+focal' has focal.gamma=2",
    ),
    (
        "tversky+focal",
        {"options": ("focal.gama=2",)},
        "the loss option 'focal.gama=2' names no option of the loss 'tversky+focal'\n"
        "hint: the loss 'tversky+focal' has tversky.alpha=0.3, tversky.beta=0.7 and focal.gamma=2",
    ),
    (
        "focal",
        {"options": ("focal.gamma=high",)},
        "the loss option 'focal.gamma=high' has the value 'high'; a number is required\n"
        "hint: the loss 'focal' has focal.gamma=2",
    ),
    (
        "focal",
        {"options": ("focal.gamma=1", "focal.gamma=2")},
        "the loss option focal.gamma is given twice\nhint: once: focal.gamma=2",
    ),
    (
        "focal",
        {"options": ("focal.gamma=-1",)},
        "focal.gamma is -1; a number of at least 0 is required\nhint: focal.gamma=2 is the default",
    ),
    (
        "focal",
        {"options": ("focal.gamma=nan",)},
        "focal.gamma is nan; a number of at least 0 is required\nhint: focal.gamma=2 is the default",
    ),
    (
        "ohem",
        {"options": ("ohem.share=25",)},
        "ohem.share is 25; above 0 and at most 1 is required\nhint: ohem.share=0.25 is the default",
    ),
    (
        "tversky",
        {"options": ("tversky.beta=0",)},
        "tversky.beta is 0; a number above 0 is required\nhint: tversky.beta=0.7 is the default",
    ),
    (
        "dice+lovasz",
        {"class_weights": [1, 2, 3]},
        "class weights cannot be used: no loss of 'dice+lovasz' takes them\n"
        "hint: leave them out, or add a loss that does: ce+dice+lovasz",
    ),
    (
        "dice",
        {"label_smoothing": 0.1},
        "label smoothing cannot be used: no loss of 'dice' takes it\n"
        "hint: leave it out, or add a loss that does: ce+dice",
    ),
    (
        "ce+ohem",
        {"class_weights": [1, 2, 3]},
        "class weights were given, and ohem of the loss 'ce+ohem' cannot have them: the predictions would decide what "
        "its sum is divided by\nhint: leave out one of them; focal takes weights, and looks at hard pixels too",
    ),
    (
        "ce",
        {"class_weights": [1, 2]},
        "2 class weights were given for 3 classes; one a class is required\nhint: weights in the order of the classes",
    ),
    (
        "ce",
        {"class_weights": [1, -2, 1]},
        "the weight of class 1 is -2; a finite number that is not negative is required\nhint: 0 leaves a class out",
    ),
    (
        "focal",
        {"class_weights": [1, 1, float("nan")]},
        "the weight of class 2 is nan; a finite number that is not negative is required\nhint: 0 leaves a class out",
    ),
    (
        "ce",
        {"class_weights": [0, 0, 0]},
        "all class weights are 0; one of them must be positive\nhint: 1 for each class is no weight",
    ),
    ("ce", {"label_smoothing": 1.0}, "label_smoothing is 1.0; at least 0 and below 1 is required"),
    (
        "ce",
        {"num_classes": 1},
        "ce was asked for with num_classes=1; two classes or more are required, for the softmax over one is always 1\n"
        "hint: num_classes=2: what is looked for, and the background",
    ),
]


@pytest.mark.parametrize(("spec", "more", "message"), REFUSED)
def test_what_is_refused(spec: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_objective(spec, **{"num_classes": 3, **more})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("dice", {"class_weights": [1, 2]}, "dice takes no class weights\nhint: ce and focal do"),
        (
            "ohem",
            {"class_weights": [1, 2]},
            "ohem takes no class weights: the predictions would decide what its sum is divided by\n"
            "hint: ce and focal do",
        ),
        ("focal", {"label_smoothing": 0.1}, "focal takes no label smoothing\nhint: ce and ohem do"),
        ("focal", {"options": {"gama": 1}}, "the loss focal has no option 'gama'\nhint: focal has focal.gamma=2"),
        ("ce", {"options": {"gama": 1}}, "the loss ce has no option 'gama'\nhint: ce has no options"),
    ],
)
def test_what_a_single_loss_refuses(name: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_loss(name, num_classes=2, **more)
    assert str(caught.value) == message
