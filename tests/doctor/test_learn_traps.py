"""Each trap of training a segmenter, set on purpose, is named first; the healthy setting beside it is left alone."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from learn_toy import (
    cross_entropy,
    dice,
    flat_dice,
    one_hot,
    seeded,
    shapes,
    soft_cross_entropy,
)
from torch import nn
from torch.nn import functional

from anysize.doctor.learn import LearningReport, diagnose_learning
from anysize.losses import create_objective

SAMPLES = shapes()
SIGNED = [(image * 0.5 - 0.1, mask) for image, mask in SAMPLES]
UNIT = [(image * 0.25 + 0.45, mask) for image, mask in SAMPLES]
LARGE = shapes(size=96)


def diagnose(model: nn.Module, loss: Any = cross_entropy, samples: Any = SAMPLES, **more: Any) -> LearningReport:
    more.setdefault("num_classes", 3)
    more.setdefault("lr", 3e-3)
    more.setdefault("steps", 30)
    before = copy.deepcopy(model.state_dict())
    report = diagnose_learning(model, samples, loss, **more)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return report


def without_norm_gradients() -> nn.Module:
    model = seeded().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return model


def frozen() -> nn.Module:
    return seeded().requires_grad_(False)


def dead() -> nn.Module:
    model = seeded(norm=False)
    with torch.no_grad():
        model.body[2].bias -= 20
    return model


def momentum(value: float) -> nn.Module:
    model = seeded()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = value
    return model


def trained_on(normalise: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A network whose running statistics know other images of the kind, normalised in this way."""
    model = seeded().train()
    with torch.no_grad():
        for seed in range(30):
            model(torch.stack([normalise(image * 0.25 + 0.45) for image, _ in shapes(seed=seed + 10)]))
    return model


def norm_in_evaluation() -> nn.Module:
    model = trained_on(lambda image: (image - 0.45) / 0.25)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False).eval()
    return model


def one_norm_in_evaluation() -> nn.Module:
    """The first normalisation is frozen, as that of a pretrained encoder; those behind it are new and live."""
    model = seeded().train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.stack([image for image, _ in SAMPLES]))
    model.body[1].eval()  # type: ignore[index]
    for layer in (model.body[4], model.body[7]):  # type: ignore[index]
        layer.reset_running_stats()
    return model


def blurred(mask: torch.Tensor) -> torch.Tensor:
    """Classes 0, 10 and 20, with the means of neighbours between them, as bilinear resizing gives."""
    wide = torch.where(mask == 255, 0, mask)[None, None].float() * 10
    return functional.avg_pool2d(functional.pad(wide, (1, 1, 1, 1), mode="replicate"), 3, 1)[0, 0].round().long()


def nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.nll_loss(logits, targets, ignore_index=255)


def counted(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, targets.clamp(max=2))


def as_bytes(mask: torch.Tensor) -> torch.Tensor:
    return torch.where((mask > 0) & (mask < 255), 255, 0)


TRAPS = {
    "255 counted": (
        seeded,
        {"loss": counted, "steps": 8},
        "ignored",
        "the loss counts ignored pixels: ",
        "ignore_index=255",
    ),
    "255 a class of 256": (
        lambda: seeded(256),
        {"loss": functional.cross_entropy, "num_classes": 256},
        "ignored",
        "the loss counts ignored pixels: ",
        "num_classes without the ignored label",
    ),
    "255 out of bounds": (
        seeded,
        {"loss": functional.cross_entropy},
        "ignored",
        "the loss fails on ignored pixels (255): Target 255 is out of bounds",
        "ignore_index=255",
    ),
    "one-hot with 255": (
        seeded,
        {"loss": soft_cross_entropy, "samples": [(image, one_hot(mask, 255.0)) for image, mask in SAMPLES]},
        "labels",
        "one-hot targets hold 255 in their channels, in ",
        "set every channel to 0 where the mask is 255",
    ),
    "softmax first": (
        lambda: seeded(end=nn.Softmax(dim=1)),
        {},
        "activation",
        "the model ends in a softmax ",
        "leave out the softmax",
    ),
    "softmax before ours": (
        lambda: seeded(end=nn.Softmax(dim=1)),
        {"loss": create_objective("ce+0.5*dice", num_classes=3, ignore_label=255)},
        "activation",
        "the model ends in a softmax ",
        "leave out the softmax",
    ),
    "sigmoid first": (lambda: seeded(end=nn.Sigmoid()), {}, "activation", "the model ends in a sigmoid ", "leave out"),
    "logits for nll": (seeded, {"loss": nll}, "activation", "the loss expects log-probabilities", "F.cross_entropy"),
    "masks 0/255": (
        lambda: seeded(2),
        {"samples": [(image, as_bytes(mask)) for image, mask in SAMPLES], "num_classes": 2},
        "labels",
        "masks hold 0 and 255 only: class 1 never occurs, and ",
        "--mask-values 0,255",
    ),
    "frozen norm, live statistics": (
        without_norm_gradients,
        {},
        "batch-norm",
        "3 of 3 frozen batch normalisations have live statistics: one training pass moves the running mean and "
        "variance of 'body.1'",
        "--batch-norm frozen",
    ),
    "meant frozen": (seeded, {"batch_norm_frozen": True}, "batch-norm", "3 of 3 frozen ", "--batch-norm frozen"),
    "momentum 0": (lambda: momentum(0.0), {}, "batch-norm", "momentum is 0 in 3 of 3 ", "momentum=0.1"),
    "momentum of Keras": (lambda: momentum(0.99), {}, "batch-norm", "momentum is 0.99 in 3 of 3 ", "momentum=0.01"),
    "flat dice": (seeded, {"loss": flat_dice}, "loss-shape", "the loss (bounded, such as Dice", "keep the class axis"),
    "sign of dice": (
        seeded,
        {"loss": lambda logits, targets: 1 - dice(logits, targets)},
        "loss-shape",
        "the loss is ",
        "turn its sign",
    ),
    "shifted": (
        seeded,
        {"samples": [(image, mask.roll((8, 8), (0, 1))) for image, mask in LARGE]},
        "pairing",
        "masks lie about ",
        "move the masks 9 px up and 8 px left",
    ),
    "resized bilinearly": (
        lambda: seeded(21),
        {"samples": [(image, blurred(mask)) for image, mask in SAMPLES], "num_classes": 21},
        "labels",
        "",
        "resize masks with nearest neighbour",
    ),
    "[0, 1] for [-1, 1]": (
        lambda: trained_on(lambda image: 2 * image - 1),
        {"samples": UNIT},
        "inputs",
        "images lie in [0, 1] (as [0, 1]), and the first batch normalisation remembers [-1, 1]",
        "--mean 127.5 127.5 127.5 --std 127.5 127.5 127.5",
    ),
    "0..255 for [-1, 1]": (
        lambda: trained_on(lambda image: 2 * image - 1),
        {"samples": [(255 * image, mask) for image, mask in UNIT]},
        "inputs",
        "images lie in [0, 255] (as 0..255), and the first batch normalisation remembers [-1, 1]",
        "--mean 127.5 127.5 127.5 --std 127.5 127.5 127.5",
    ),
    "all frozen": (frozen, {}, "gradients", "nothing can be learned: all 14 parameter tensors are frozen", "requires_"),
    "dead ReLU": (
        dead,
        {},
        "gradients",
        "the gradient is exactly 0 in 3 of 4 weights, 'body.0.weight' first; 100% of ",
        "Lea",
    ),
    "rate too low": (seeded, {"lr": 1e-5}, "learning-rate", "the learning rate 1e-05 is about ", "--lr 0.0"),
    "rate too high": (
        seeded,
        {"optimizer_factory": lambda model: torch.optim.SGD(model.parameters(), lr=50.0, momentum=0.9)},
        "learning-rate",
        "the learning rate 50 is about ",
        "--lr 0.",
    ),
    "bytes": (
        lambda: seeded(norm=False),
        {"samples": [((image * 0.25 + 0.45) * 255, mask) for image, mask in SAMPLES]},
        "inputs",
        "images lie in [0, 255]: bytes that were not normalised",
        "--mean and --std",
    ),
}


# Doubles of a trap or a setting that stays: `make test-slow` runs them.
SLOW = {
    "255 a class of 256",
    "softmax before ours",
    "0..255 for [-1, 1]",
    "meant frozen",
    "momentum of Keras",
    "sign of dice",
    "logits for nll",
    "log-softmax and cross-entropy",
    "smoothing",
    "soft targets",
    "SGD",
    "large",
    "trained on [0, 1]",
    "from scratch in [0, 1]",
    "two classes",
}


def marked(names: Any) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]


@pytest.mark.parametrize("name", marked(TRAPS))
def test_a_trap_is_named_first(name: str) -> None:
    build, arguments, check, found, fix = TRAPS[name]
    report = diagnose(build(), **dict(arguments))  # type: ignore[operator, arg-type]
    assert report.findings, report.lines()
    first = report.findings[0]
    assert (first.check, first.found[: len(found)]) == (check, found)
    assert fix in first.fix
    assert not report.ok or first.severity != "error"


HEALTHY: dict[str, tuple[Any, dict[str, Any]]] = {
    "batch norm": (seeded, {}),
    "no norm": (lambda: seeded(norm=False), {}),
    "log-softmax and nll": (lambda: seeded(end=nn.LogSoftmax(dim=1)), {"loss": nll}),
    "log-softmax and cross-entropy": (lambda: seeded(end=nn.LogSoftmax(dim=1)), {}),
    "dice": (seeded, {"loss": dice}),
    "ours": (seeded, {"loss": create_objective("ce+0.5*dice", num_classes=3, ignore_label=255)}),
    "smoothing": (
        seeded,
        {"loss": lambda x, y: functional.cross_entropy(x, y, ignore_index=255, label_smoothing=0.1)},
    ),
    "soft targets": (
        seeded,
        {"loss": soft_cross_entropy, "samples": [(image, one_hot(mask, 0.0)) for image, mask in SAMPLES]},
    ),
    "SGD": (seeded, {"optimizer_factory": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)}),
    "large": (seeded, {"samples": LARGE, "max_side": 64}),
    "frozen norm": (norm_in_evaluation, {"batch_norm_frozen": True, "lr": 0.01}),
    "one norm frozen": (
        lambda: one_norm_in_evaluation(),
        {"batch_norm_frozen": ("body.1",), "lr": 0.01},
    ),
    "trained on such images": (lambda: trained_on(lambda image: 2 * image - 1), {"samples": SIGNED}),
    "trained on [0, 1]": (lambda: trained_on(lambda image: image), {"samples": UNIT}),
    "from scratch in [0, 1]": (seeded, {"samples": UNIT}),
    "two classes": (lambda: seeded(2), {"samples": shapes(num_classes=2), "num_classes": 2}),
}


@pytest.mark.parametrize("name", marked(HEALTHY))
def test_nothing_is_said_of_a_healthy_setting(name: str) -> None:
    build, arguments = HEALTHY[name]
    report = diagnose(build(), **arguments)
    assert (report.findings, report.learned, report.ok) == ((), True, True), "\n".join(report.lines())
    assert report.losses[-1] < report.losses[0]
    assert report.mean_iou > 0.4


def outlined(mask: torch.Tensor) -> torch.Tensor:
    """Discs of class 2 in an outline of class 1, one pixel wide, on ground of class 0."""
    disc = (mask == 1).float()[None, None]
    wide = functional.max_pool2d(disc, 3, 1, 1)
    return (wide + disc)[0, 0].long()


def test_an_outline_is_no_interpolation() -> None:
    samples = [(image, outlined(mask)) for image, mask in SAMPLES]
    assert {0, 1, 2} == set(torch.stack([mask for _, mask in samples]).unique().tolist())
    report = diagnose(seeded(), samples=samples)
    assert [(found.check, found.severity) for found in report.findings] == [("labels", "warning")], report.lines()
    assert "class 1 lies between two others" in report.findings[0].found
    assert report.losses
    assert not report.failed


@pytest.mark.parametrize(("rate", "severity"), [(0.5, "warning"), (3.0, "error")])
def test_a_rate_that_replaces_the_weights_is_told_though_a_handful_is_learned(rate: float, severity: str) -> None:
    """Behind batch normalisation the scale of weights is nothing. Within what the sweep allows it is a warning."""
    report = diagnose(seeded(), optimizer_factory=lambda model: torch.optim.AdamW(model.parameters(), lr=rate))
    assert report.learned
    (found,) = report.findings
    assert (found.check, found.severity) == ("learning-rate", severity)
    assert found.found.startswith(f"the learning rate {rate:.2g} is about ")
    assert "times the weights, by which a handful is learned and a data set is not" in found.found
    assert found.fix.startswith("--lr 0.0")
    assert report.failed == (severity == "error")


def test_statistics_of_a_few_updates_are_no_memory() -> None:
    model = seeded()
    for _ in range(4):
        model(torch.rand(2, 3, 65, 80))
    report = diagnose(model, samples=UNIT)
    assert "inputs" not in [found.check for found in report.findings], report.lines()
