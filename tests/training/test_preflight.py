"""The preflight, the command behind it, and the sweep of learning rates: what they find; that they change nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anysize.cli import main
from anysize.console import Console
from anysize.doctor.finding import Finding
from anysize.errors import TrainingError
from anysize.models import create_model
from anysize.training import preflight as preflight_module
from anysize.training.learn_config import LearnConfig
from anysize.training.lr_config import LrConfig
from anysize.training.lr_finder import find_lr
from anysize.training.preflight import diagnose, examine, preflight
from anysize.training.run import train
from anysize.training.setup import set_up
from toy import QUIET, quick_segmenter, write_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", sides=(72, 96))


def learning(data: Path, **changes: Any) -> LearnConfig:
    options = quick_segmenter(data, None, **changes)
    values = {name: getattr(options, name) for name in options.given}
    return LearnConfig(**values, seconds=20.0)


def test_a_healthy_run_is_learned_and_nothing_is_found(shapes: Path) -> None:
    report = diagnose(learning(shapes, batch_norm="group"), console=QUIET)
    assert report.learned
    assert [finding.check for finding in report.findings if finding.severity == "error"] == []


def test_a_rate_far_too_high_is_named(shapes: Path) -> None:
    report = diagnose(learning(shapes, batch_norm="group", lr=3.0), console=QUIET)
    assert not report.learned
    assert report.findings[0].check == "learning-rate"
    assert "too high" in report.findings[0].found


def test_masks_that_are_shifted_on_disk_are_named(shapes: Path, tmp_path: Path) -> None:
    moved = write_shapes(tmp_path / "moved", sides=(72, 96))
    for path in (moved / "SegmentationClass").glob("*.png"):
        Image.fromarray(np.roll(np.array(Image.open(path)), (14, 14), (0, 1))).save(path)
    report = diagnose(learning(moved, batch_norm="group"), console=QUIET)
    assert "pairing" in [finding.check for finding in report.findings]


def test_the_preflight_changes_nothing(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "LONG_PIXELS", 0)
    setup = set_up(quick_segmenter(shapes, None, batch_norm="train"), QUIET)
    before = {name: tensor.clone() for name, tensor in setup.model.state_dict().items()}
    numbers = torch.get_rng_state()
    preflight(setup, QUIET)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in setup.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in setup.model.parameters())


def test_it_stops_a_run_that_would_not_learn(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "LONG_PIXELS", 0)
    config = quick_segmenter(shapes, tmp_path / "run", batch_norm="group", lr=3.0)
    with pytest.raises(TrainingError) as caught:
        train(config, console=QUIET)
    assert caught.value.message.startswith("the preflight found why this run would not learn:\n")
    assert "error [learning-rate]: the learning rate of 3 is" in caught.value.message
    assert "--no-preflight trains all the same" in (caught.value.hint or "")
    assert not (tmp_path / "run").exists()


def test_short_runs_have_none(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a run of some seconds was examined")

    setup = set_up(quick_segmenter(shapes, None), QUIET)
    monkeypatch.setattr(preflight_module, "examine", never)
    preflight(setup, QUIET)


def test_the_images_that_are_learned_have_all_classes(shapes: Path) -> None:
    setup = set_up(quick_segmenter(shapes, None), QUIET)
    chosen = preflight_module._varied(setup, 2)
    assert len(set(chosen)) == 2
    seen = set().union(*(np.unique(setup.val.__class__.native_mask(setup.train, index)).tolist() for index in chosen))
    assert {0, 1, 2} <= seen


def test_the_sweep_suggests_a_rate_and_leaves_the_network_as_it_was(shapes: Path, tmp_path: Path) -> None:
    options = quick_segmenter(shapes, tmp_path / "sweep", batch_norm="group")
    values = {name: getattr(options, name) for name in options.given}
    found = find_lr(LrConfig(**values, probes=30, sweep_batches=2), console=QUIET)
    assert found.result.suggestion is not None
    assert 1e-4 < found.result.suggestion < 0.3
    assert max(found.result.pixels) <= 1.1 * min(found.result.pixels)
    rows = found.table.read_text().splitlines()
    assert rows[0] == "rate,loss,smoothed"
    assert len(rows) == len(found.result.rates) + 1
    with Image.open(found.figure) as figure:
        assert figure.width > 400


def test_commands(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "unet", "--model-kwargs", "encoder_width=0.25", "channels=[16,16,8,8,8]", "--workers", "0"]
    common = [str(shapes), *small, "--recipe", "none", "--batch-norm", "group", "--batch-size", "4"]
    assert main(["doctor", "learn", *common, "--lr", "0.01", "--seconds", "20"]) == 0
    assert capsys.readouterr().out.startswith("learned 4 samples of ")
    assert main(["lr", *common, "--probes", "20", "--sweep-batches", "1", "--output", str(tmp_path / "lr")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("--lr ")
    assert said[1].startswith("the loss falls from ")


def test_examine_lets_go_of_a_frozen_backbone(shapes: Path, tmp_path: Path) -> None:
    from anysize.models import save_weights

    model = create_model("unet", num_classes=3, encoder_width=0.25, channels=[16, 16, 8, 8, 8])
    save_weights(model, tmp_path / "w.safetensors")
    config = quick_segmenter(shapes, None, pretrained=str(tmp_path / "w.safetensors"), head_epochs=2)
    setup = set_up(config, QUIET)
    report = examine(setup, Console(quiet=True), num_images=2, seconds=5.0)
    assert isinstance(report.findings, tuple)
    assert all(isinstance(finding, Finding) for finding in report.findings)
    assert all(parameter.requires_grad for parameter in setup.model.parameters())
