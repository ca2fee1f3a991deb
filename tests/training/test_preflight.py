"""The preflight, the command behind it, and the sweep of learning rates: what they find; that they change nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from anysize.cli import main
from anysize.doctor.learn import LearningReport
from anysize.errors import TrainingError
from anysize.models import create_model
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.criterion import Criterion
from anysize.training import lr_finder
from anysize.training import preflight as preflight_module
from anysize.training.learn_config import LearnConfig
from anysize.training.lr_config import LrConfig
from anysize.training.lr_finder import LrFound, find_lr
from anysize.training.preflight import diagnose, examine, preflight
from anysize.training.progress import RunProgress
from anysize.training.run import train
from anysize.training.setup import Setup, set_up
from anysize.training.watch import Watch
from toy import QUIET, quick_segmenter, write_shapes

TINY = ("encoder_width=0.125", "channels=[8,8,8,8,8]")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", count=8, sides=(64, 72), val=2)


def given(data: Path, output: Path | None = None, **changes: Any) -> dict[str, Any]:
    options = quick_segmenter(data, output, **{"model_kwargs": TINY, "max_pixels": 100_000, **changes})
    return {name: getattr(options, name) for name in options.given}


def learning(data: Path, **changes: Any) -> LearnConfig:
    return LearnConfig(**given(data, **changes), images=2)


def sweeping(data: Path, output: Path, *, probes: int = 8, high: float = 0.01, **changes: Any) -> LrFound:
    values = given(data, output, **{"batch_norm": "group", "hflip": 0.0, "crop": 1.0, "color_jitter": 0.0, **changes})
    return find_lr(LrConfig(**values, probes=probes, sweep_batches=1, high=high), console=QUIET)


@pytest.mark.slow
def test_a_healthy_run_is_learned_and_nothing_is_found(shapes: Path) -> None:
    report = diagnose(learning(shapes, batch_norm="group"), console=QUIET)
    assert report.learned
    assert [finding.check for finding in report.findings if finding.severity == "error"] == []


@pytest.mark.slow
def test_masks_that_are_shifted_on_disk_are_named(tmp_path: Path) -> None:
    moved = write_shapes(tmp_path / "moved", sides=(72, 96))
    for path in (moved / "SegmentationClass").glob("*.png"):
        Image.fromarray(np.roll(np.array(Image.open(path)), (14, 14), (0, 1))).save(path)
    report = diagnose(LearnConfig(**given(moved, batch_norm="group")), console=QUIET)
    assert "pairing" in [finding.check for finding in report.findings]


def test_it_stops_a_run_that_would_not_learn(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "LONG_PIXELS", 0)
    monkeypatch.setattr(preflight_module, "_NUM_IMAGES", 2)
    config = quick_segmenter(shapes, tmp_path / "run", model_kwargs=TINY, batch_norm="group", lr=30.0)
    with pytest.raises(TrainingError) as caught:
        train(config, console=QUIET)
    assert caught.value.message.startswith("the preflight found why this run would not learn:\n")
    assert "error [learning-rate]: the learning rate 30 is about " in caught.value.message
    assert "--no-preflight trains all the same" in (caught.value.hint or "")
    assert not (tmp_path / "run").exists()


def test_it_changes_nothing_and_lets_a_run_go_on_that_is_too_slow(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight_module, "LONG_PIXELS", 0)
    monkeypatch.setattr(preflight_module, "_SECONDS", 0.3)
    setup = set_up(quick_segmenter(shapes, None, head_epochs=1, max_pixels=100_000), QUIET)
    before = {name: tensor.clone() for name, tensor in setup.model.state_dict().items()}
    numbers = torch.get_rng_state()
    reports: list[LearningReport] = []
    monkeypatch.setattr(
        preflight_module, "examine", lambda *args, **more: reports.append(examine(*args, **more)) or reports[-1]
    )
    preflight(setup, QUIET)
    assert (reports[0].too_slow, reports[0].failed, reports[0].learned) == (True, False, False)
    assert reports[0].lines()[0].startswith("too slow to tell whether it learns ")
    assert "warning: preflight" not in capsys.readouterr().err
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in setup.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in setup.model.parameters())


def test_short_runs_have_none(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a run of some seconds was examined")

    setup = set_up(quick_segmenter(shapes, None, max_pixels=100_000), QUIET)
    monkeypatch.setattr(preflight_module, "examine", never)
    preflight(setup, QUIET)


def test_the_images_that_are_learned_have_all_classes(shapes: Path) -> None:
    setup = set_up(quick_segmenter(shapes, None, max_pixels=100_000), QUIET)
    chosen = preflight_module._varied(setup, 2)
    assert len(set(chosen)) == 2
    seen = set().union(*(np.unique(setup.train.native_mask(index)).tolist() for index in chosen))  # type: ignore[union-attr]
    assert {0, 1, 2} <= seen


def asked_of(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], dict[str, Any]]:
    """Samples and options that an examination hands over."""
    asked: list[Any] = []

    def note(model: Any, samples: Any, loss: Any, **options: Any) -> None:
        asked.extend((samples, options))

    monkeypatch.setattr(preflight_module, "diagnose_learning", note)
    examine(setup, QUIET, num_images=2, seconds=5.0)
    return asked[0], asked[1]


def test_the_pixels_are_those_of_training(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = set_up(quick_segmenter(shapes, None, max_side=40, max_pixels=5000), QUIET)
    samples, options = asked_of(setup, monkeypatch)
    chosen = preflight_module._varied(setup, 2)
    sizes = setup.train.sizes(0)
    assert [tuple(mask.shape) for _, mask in samples] == [tuple(sizes[index].tolist()) for index in chosen]
    assert max(max(image.shape) for image, _ in samples) == 40
    assert options["max_side"] == 64  # 5,000 pixels let in two windows of 50, and none is smaller than this


@pytest.mark.parametrize("head_epochs", [0, 2])
def test_a_new_decoder_behind_a_frozen_encoder_is_healthy(shapes: Path, tmp_path: Path, head_epochs: int) -> None:
    torch.manual_seed(0)
    options = {"encoder": "resnet18", "encoder_width": 0.125, "channels": 16}
    trained = create_model("deeplabv3plus", num_classes=3, **options).train()
    with torch.no_grad():
        for _ in range(20):
            trained(torch.randn(4, 3, 64, 64))
    weights = {name.removeprefix("encoder."): tensor for name, tensor in trained.state_dict().items()}
    names = {name for name in trained.state_dict() if name.startswith("encoder.")}
    weights = {name: tensor for name, tensor in weights.items() if f"encoder.{name}" in names}
    save_file({**weights, "fc.weight": torch.zeros(9, 64), "fc.bias": torch.zeros(9)}, tmp_path / "encoder.safetensors")
    config = quick_segmenter(
        shapes, None, model="deeplabv3plus", model_kwargs=tuple(f"{name}={value}" for name, value in options.items()),
        pretrained=str(tmp_path / "encoder.safetensors"), batch_norm="frozen", head_epochs=head_epochs, lr=0.02,
    )  # fmt: skip
    setup = set_up(config, QUIET)
    report = examine(setup, QUIET, num_images=2, seconds=30.0)
    assert [finding for finding in report.findings if finding.check == "batch-norm"] == []
    assert not any(finding.severity == "error" for finding in report.findings)
    assert all(parameter.requires_grad for parameter in setup.model.parameters())


def test_the_watch_keeps_to_a_pass_and_to_the_main_output(shapes: Path) -> None:
    setup = set_up(quick_segmenter(shapes, None, model_kwargs=TINY, max_pixels=12_000), QUIET)
    watch = Watch(setup, RunProgress.at_start(setup))
    whole = watch._images()
    assert (len(whole.indices), whole.num_canvas <= 12_000) == (2, True)
    setup.config = replace(setup.config, max_pixels=1)
    assert len(watch._images().indices) == 1
    expected = watch._both_modes()
    network = setup.model.forward

    def with_aux(images: Any) -> Any:
        logits = network(images)
        return {"out": logits, "aux": logits} if setup.model.training else logits

    setup.model.forward = with_aux  # type: ignore[method-assign]
    assert watch._both_modes() == pytest.approx(expected)


def test_an_entropy_is_that_of_a_plain_loss_alone(shapes: Path) -> None:
    setup = set_up(quick_segmenter(shapes, None, max_pixels=100_000), QUIET)

    def compares(**changes: Any) -> bool:
        other = replace(setup, **changes)
        return Watch(other, RunProgress.at_start(other))._alarms._is_entropy

    config, objective = setup.config, setup.criterion.objective
    assert compares()
    assert not compares(config=replace(config, pretrained="weights.pth"))
    assert not compares(config=replace(config, see="patches", patches="class"))
    assert not compares(criterion=Criterion(objective, hardest_share=0.25))
    double = set_up(quick_segmenter(shapes, None, loss="2*ce", max_pixels=100_000), QUIET)
    assert not compares(criterion=double.criterion)
    setup.model.add_module("aux_head", torch.nn.Identity())
    assert not compares()


@pytest.mark.slow
def test_the_sweep_suggests_a_rate_and_leaves_the_network_as_it_was(shapes: Path, tmp_path: Path) -> None:
    found = sweeping(shapes, tmp_path / "sweep", probes=30, high=10.0)
    assert found.result.suggestion is not None
    assert 1e-4 < found.result.suggestion < 0.3


def test_the_sweep_keeps_to_the_limit_of_a_pass(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Divided otherwise, a step is the same step: the losses do not change."""
    passes: list[int] = []

    def watched(config: Any, console: Any) -> Setup:
        setup = set_up(config, console)

        def note(_: Any, args: tuple[Any, ...]) -> None:
            (images,) = args
            if isinstance(images, RaggedBatch | RaggedGroup):
                parts = images.parts if isinstance(images, RaggedGroup) else [images]
                passes.append(sum(part.canvas[:, 0].numel() for part in parts))

        setup.model.register_forward_pre_hook(note)
        return setup

    monkeypatch.setattr(lr_finder, "set_up", watched)
    whole = sweeping(shapes, tmp_path / "whole", loss="ce+dice", max_pixels=100_000)
    assert max(passes) > 12_000
    passes.clear()
    parts = sweeping(shapes, tmp_path / "parts", loss="ce+dice", max_pixels=6000)
    assert max(passes) <= 6000
    assert parts.result.losses == pytest.approx(whole.result.losses, rel=1e-3)
    rows = parts.table.read_text().splitlines()
    assert (rows[0], len(rows)) == ("rate,loss,smoothed", 1 + len(parts.result.rates))
    with Image.open(parts.figure) as figure:
        assert figure.width > 400
    plain = sweeping(shapes, tmp_path / "plain", max_pixels=6000)
    hard = sweeping(shapes, tmp_path / "hard", max_pixels=6000, see="sampled", sample_by="hardest", sample_share=0.1)
    assert hard.result.losses[0] > 1.1 * plain.result.losses[0]


def test_commands(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "unet", "--model-kwargs", *TINY, "--workers", "0"]
    common = [str(shapes), *small, "--recipe", "none", "--batch-norm", "group", "--batch-size", "4"]
    assert main(["doctor", "learn", *common, "--lr", "0.01", "--images", "2"]) == 0
    assert capsys.readouterr().out.startswith("learned 2 samples of ")
    assert main(["lr", *common, "--probes", "16", "--sweep-batches", "1", "--output", str(tmp_path / "lr")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("--lr ")
    assert said[1].startswith("the loss falls from ")
