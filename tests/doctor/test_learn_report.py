"""The diagnosis leaves no trace, takes what people have, and says what it says in one form."""

import json
import random
import time

import numpy as np
import pytest
import torch
from learn_toy import case_of, cross_entropy, seeded, shapes
from torch import nn
from torch.nn import functional

from anysize.doctor.finding import Finding, most_severe_first
from anysize.doctor.learn import diagnose_learning
from anysize.doctor.learn.case import Case, build_case
from anysize.doctor.learn.overfit import Overfit, overfit
from anysize.doctor.learn.pace import seconds_a_step, with_fitting_window
from anysize.doctor.learn.probes import list_probes
from anysize.doctor.learn.rate import RateCheck, check_rate
from anysize.doctor.sweep import sweep
from anysize.doctor.untouched import untouched
from anysize.errors import UsageError


def test_findings_read_and_sort() -> None:
    note = Finding("a", "note", "this", "", "")
    error = Finding("b", "error", "that", "other", "do", tuple("12345"))
    assert str(note) == "note [a]: this"
    assert str(error) == "error [b]: that (1, 2, 3 and 2 more); expected other\nhint: do"
    assert most_severe_first([note, error]) == [error, note]
    assert json.loads(json.dumps(error.to_json()))["paths"] == list("12345")


def test_probes_are_found_in_order() -> None:
    names = [name for name, _ in list_probes()]
    assert names[:2] == ["labels", "outputs"]
    assert {"ignored", "gradients", "inputs", "batch_norm", "loss_shape", "activation", "pairing"} <= set(names)


def test_a_model_ends_as_it_was() -> None:
    model = seeded().train()
    model.head.eval()
    model.body[0].weight.grad = torch.ones_like(model.body[0].weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    numpy_state, python_state = np.random.get_state()[1].tolist(), random.getstate()
    report = diagnose_learning(model, shapes(), cross_entropy, num_classes=3, lr=1e-5, steps=8)
    assert report.sweep is not None  # it did not learn, so everything was tried
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), expected)
    assert np.random.get_state()[1].tolist() == numpy_state
    assert random.getstate() == python_state
    assert [m.training for m in (model, model.body[1], model.head)] == [True, True, False]
    assert torch.equal(model.body[0].weight.grad, torch.ones_like(model.body[0].weight))
    assert model.head.weight.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_ends_as_it_was_by_an_error_too() -> None:
    model = seeded()

    def fail() -> None:
        with untouched(model):
            model.eval()
            model.head.weight.data.zero_()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.training
    assert bool(model.head.weight.any())


def test_images_of_many_sizes_are_cut_where_classes_are() -> None:
    samples = [(image[:, :, : 70 + 5 * i], mask[:, : 70 + 5 * i]) for i, (image, mask) in enumerate(shapes(size=96))]
    report = diagnose_learning(seeded(), samples, cross_entropy, num_classes=3, lr=3e-3)
    assert (report.size, report.num_samples, report.ok) == ((96, 70), 4, True)


def test_classes_of_images() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    samples = [(torch.randn(3, 20, 20 + i) + (i % 2) * 2.0, i % 2) for i in range(6)]
    report = diagnose_learning(net, samples, functional.cross_entropy, num_classes=2, ignore_label=None, lr=0.02)
    assert (report.findings, report.learned) == ((), True)


def test_outputs_that_do_not_fit() -> None:
    report = diagnose_learning(seeded(4), shapes(), cross_entropy, num_classes=3)
    assert str(report.findings[0]) == (
        "error [outputs]: the model has 4 outputs for 3 classes; expected 3 outputs (the ignored label is none)\n"
        "hint: build the model with num_classes=3"
    )
    assert (report.learned, report.losses) == (False, ())
    assert json.loads(json.dumps(report.to_json()))["accuracy"] is None
    report = diagnose_learning(seeded(end=nn.MaxPool2d(4)), shapes(), cross_entropy, num_classes=3)
    assert report.findings[0].found == "outputs are 12x12 for masks of 48x48 (height x width)"


def test_one_value_a_channel_is_told() -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    report = diagnose_learning(net, [(torch.randn(3, 8, 8), 1)], functional.cross_entropy, num_classes=2)
    assert "--batch-norm frozen" in report.findings[0].fix


def test_an_output_without_a_gradient() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = seeded()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images).detach()

    report = diagnose_learning(Cut(), shapes(), cross_entropy, num_classes=3)
    assert report.findings[0].found == "the model's output has no gradient: it is cut off from the parameters"


def test_an_optimiser_made_too_early() -> None:
    model = seeded()
    early = list(model.body.parameters())
    report = diagnose_learning(
        model, shapes(), cross_entropy, num_classes=3, optimizer_factory=lambda _: torch.optim.AdamW(early, 3e-3)
    )
    assert report.findings[0].found.startswith("the optimiser does not have 2 of 14 trainable tensors, such as 'head.")


def test_labels_that_cannot_be_learned() -> None:
    for change, found in (
        (lambda mask: torch.full_like(mask, 255), "every target is ignored (255)"),
        (lambda mask: torch.where(mask == 255, 255, 1), "all targets of 4 samples are class 1"),
        (lambda mask: torch.where(mask == 2, 7, mask), "targets hold 7, in "),
    ):
        samples = [(image, change(mask)) for image, mask in shapes()]
        report = diagnose_learning(seeded(), samples, cross_entropy, num_classes=3, steps=30)
        assert report.findings[0].found.startswith(found)
    image, mask = shapes()[0]
    image[0, 3, 3] = float("nan")
    report = diagnose_learning(seeded(), [(image, mask)], cross_entropy, num_classes=3)
    assert report.findings[0].found == "0.01% of the image values are NaN or infinite"


def test_samples_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^there are no samples; some four images with their masks are required$"):
        diagnose_learning(seeded(), [], cross_entropy, num_classes=3)
    image, mask = shapes()[0]
    with pytest.raises(UsageError, match=r"^sample 0 has an image of shape \(3, 48, 48\) and a mask of \(47, 48\); "):
        diagnose_learning(seeded(), [(image, mask[1:])], cross_entropy, num_classes=3)


def test_normalisations_that_are_known_are_compared() -> None:
    half, unit = ((127.5,) * 3, (127.5,) * 3), ((0.0,) * 3, (255.0,) * 3)
    report = diagnose_learning(
        seeded(), shapes(), cross_entropy, num_classes=3, lr=3e-3, normalisation=unit, pretrained="xception65.ra3_in1k"
    )
    assert report.findings[0].found == (
        "images are normalised with mean 0 0 0 and std 255 255 255 (in 0..255): values in [0, 1]"
    )
    assert report.findings[0].fix == "--mean 127.5 127.5 127.5 --std 127.5 127.5 127.5"
    report = diagnose_learning(
        seeded(), shapes(), cross_entropy, num_classes=3, lr=3e-3, normalisation=half, expected_normalisation=half
    )
    assert report.findings == ()


class Tired(nn.Module):
    """Passes on what a network says, after a time that grows with the pixels."""

    def __init__(self, seconds_a_pixel: float) -> None:
        super().__init__()
        self.net, self.seconds = seeded(), seconds_a_pixel

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds * images[:, 0].numel())
        return self.net(images)


def test_the_window_gives_way_before_the_steps_do() -> None:
    samples = shapes(num=2, size=200)

    def build(side: int) -> Case:
        return build_case(
            Tired(5e-7), samples, cross_entropy, lambda m: torch.optim.SGD(m.parameters(), lr=0.1), num_classes=3,
            ignore_label=255, max_side=side,
        )  # fmt: skip

    second = 5e-7 * 2 * 200 * 200  # at least
    for seconds, min_side, side in ((1000.0, 1, 200), (0.0, 1, 128), (0.0, 150, 160), (0.0, 170, 200)):
        assert with_fitting_window(build, 256, min_side=min_side, seconds=seconds).images.shape[2] == side
    assert seconds_a_step(build(256)) >= second


def test_too_few_steps_are_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate far too low, or a time that is out: nothing is known, and no cause is named."""

    def hasty(case: Case, *, steps: int, **_: object) -> Overfit:
        return overfit(case, steps=steps, seconds=0.0)

    monkeypatch.setattr("anysize.doctor.learn.diagnose.overfit", hasty)
    for seconds, steps in ((60.0, "1 step in "), (1e-9, "not even the first looks in ")):
        report = diagnose_learning(seeded(), shapes(), cross_entropy, num_classes=3, lr=1e-5, seconds=seconds)
        assert (report.too_slow, report.failed, report.ok, report.findings) == (True, False, False, ())
        said = report.lines()[0].removeprefix(
            "too slow to tell whether it learns 4 samples of 48x48 (height x width): "
        )
        assert said.startswith(steps)
        assert said.endswith(f"--seconds {report.seconds_wanted:.0f} could")
        assert report.to_json()["too_slow"] is True
    monkeypatch.setattr("anysize.doctor.learn.diagnose.overfit", overfit)
    report = diagnose_learning(seeded(), shapes(), cross_entropy, num_classes=3, lr=1e-5, steps=30)
    assert (report.too_slow, report.failed, report.findings[0].check) == (False, True, "learning-rate")


def test_a_run_goes_on_past_its_share_until_it_has_enough_steps() -> None:
    case = case_of(seeded())
    run = overfit(case, steps=40, seconds=0.0, least=12, at_most=1000.0)
    assert (len(run.losses), run.cut_short) == (12, True)
    assert not overfit(case, steps=8, seconds=1000.0).cut_short
    assert check_rate(case, run, 0.0) == RateCheck(decided=False)


def test_a_sweep_ends_with_its_time() -> None:
    images, masks = (torch.stack(part) for part in zip(*shapes(), strict=True))
    model = Tired(5e-6)
    result = sweep(
        model, [(images, masks)], cross_entropy, lambda m: torch.optim.SGD(m.parameters(), lr=0.1), seconds=0.2
    )
    assert (result.complete, result.diverged) == (False, False)
    assert len(result.rates) < 10
