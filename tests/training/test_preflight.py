"""The preflight, the command behind it, and the sweep of learning rates: what they find; that they change nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from anysize.cli import main
from anysize.console import Console
from anysize.data import ImageDataset
from anysize.doctor.finding import Finding
from anysize.doctor.learn import LearningReport
from anysize.doctor.learn.case import build_case
from anysize.doctor.learn.probes import batch_norm
from anysize.doctor.sweep import sweep
from anysize.doctor.untouched import untouched
from anysize.errors import TrainingError
from anysize.losses import create_objective
from anysize.models import create_model
from anysize.ragged import RaggedGroup
from anysize.stepping.criterion import Criterion
from anysize.training import TrainConfig, lr_finder
from anysize.training import preflight as preflight_module
from anysize.training.learn_config import LearnConfig
from anysize.training.lr_config import LrConfig
from anysize.training.lr_finder import find_lr
from anysize.training.preflight import diagnose, examine, preflight
from anysize.training.progress import RunProgress
from anysize.training.run import train
from anysize.training.setup import Setup, build_optimizer, set_up
from anysize.training.source import images_of
from anysize.training.watch import Watch
from toy import QUIET, quick_segmenter, write_shapes

TINY = ("encoder_width=0.125", "channels=[8,8,8,8,8]")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", count=8, sides=(64, 72), val=2)


@pytest.fixture(scope="module")
def ready(shapes: Path) -> Setup:
    """Of a run; nothing in it is to be changed."""
    config = TrainConfig(**given(shapes, batch_norm="group", hflip=0.0, crop=1.0, color_jitter=0.0))
    return set_up(config, QUIET)


def given(data: Path, output: Path | None = None, **changes: Any) -> dict[str, Any]:
    options = quick_segmenter(data, output, **{"model_kwargs": TINY, "max_pixels": 100_000, **changes})
    return {name: getattr(options, name) for name in options.given}


REPORT = LearningReport(
    learned=True,
    findings=(),
    losses=(1.0, 0.1),
    accuracy=0.9,
    mean_iou=0.8,
    kappa=0.8,
    lr=0.1,
    size=(64, 64),
    num_samples=2,
    seconds=9.6,
)
BAD = replace(REPORT, findings=(Finding("learning-rate", "error", "the learning rate 3 is too high", "", "--lr 0.01"),))
SLOW = replace(REPORT, learned=False, too_slow=True, seconds_wanted=90.0)


def test_the_exit_code_is_1_only_for_what_is_known(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for report, code, said in (
        (REPORT, 0, "learned 2 samples of 64x64 (height x width): loss 1 to 0.1 in 2 steps"),
        (BAD, 1, "learned these 2 samples of 64x64 (height x width), but see the error: loss 1 to 0.1 in 2 steps"),
        (replace(REPORT, learned=False), 1, "did not learn 2 samples of 64x64 (height x width): loss 1 to 0.1 in"),
        (SLOW, 0, "too slow to tell whether it learns 2 samples of 64x64 (height x width): 2 steps in 10 seconds; "),
    ):
        monkeypatch.setattr(preflight_module, "diagnose", lambda _, report=report: report)
        assert main(["doctor", "learn", str(shapes)]) == code
        assert capsys.readouterr().out.startswith(said)


def test_it_stops_a_run_with_an_error_and_no_other(
    ready: Setup, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight_module, "LONG_PIXELS", 0)
    monkeypatch.setattr(preflight_module, "examine", lambda *_, **__: BAD)
    with pytest.raises(TrainingError) as caught:
        preflight(ready, QUIET)
    assert caught.value.message.startswith("the preflight found why this run would not learn:\nlearned these 2 samples")
    assert caught.value.hint == "--lr 0.01; --no-preflight trains all the same"
    monkeypatch.setattr(preflight_module, "examine", lambda *_, **__: SLOW)
    preflight(ready, QUIET)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_a_wild_rate_ends_before_it_begins(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_module, "LONG_PIXELS", 0)
    with pytest.raises(TrainingError) as caught:
        train(TrainConfig(**given(shapes, tmp_path / "run", batch_norm="group", lr=30.0)), console=QUIET)
    assert "error [learning-rate]: the learning rate 30 is about " in caught.value.message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_masks_that_are_shifted_on_disk_are_named(tmp_path: Path) -> None:
    moved = write_shapes(tmp_path / "moved", sides=(72, 96))
    for path in (moved / "SegmentationClass").glob("*.png"):
        Image.fromarray(np.roll(np.array(Image.open(path)), (14, 14), (0, 1))).save(path)
    report = diagnose(LearnConfig(**given(moved, batch_norm="group")), console=QUIET)
    assert "pairing" in [finding.check for finding in report.findings]


def test_too_little_time_is_no_verdict_and_changes_nothing(ready: Setup) -> None:
    before = {name: tensor.clone() for name, tensor in ready.model.state_dict().items()}
    numbers = torch.get_rng_state()
    report = examine(ready, QUIET, [0, 1], seconds=0.01)
    assert (report.too_slow, report.failed, report.learned) == (True, False, False)
    assert report.seconds < 5
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ready.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in ready.model.parameters())


def test_short_runs_have_none(ready: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a run of some seconds was examined")

    monkeypatch.setattr(preflight_module, "examine", never)
    preflight(ready, QUIET)


def test_the_images_that_are_learned_have_all_classes(ready: Setup) -> None:
    chosen = preflight_module._varied(ready, 2)
    assert len(set(chosen)) == 2
    seen = set().union(*(np.unique(images_of(ready.train).native_mask(index)).tolist() for index in chosen))
    assert {0, 1, 2} <= seen


def test_the_pixels_are_those_of_training(ready: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        preflight_module, "diagnose_learning", lambda _, samples, *__, **more: asked.extend((samples, more))
    )
    whole = images_of(ready.train)
    train = ImageDataset(whole.table, 3, coding=whole.coding, max_side=40)
    setup = replace(ready, train=train, config=replace(ready.config, max_pixels=5000))
    chosen = preflight_module._varied(setup, 2)
    examine(setup, QUIET, chosen, seconds=5.0)
    assert [tuple(mask.shape) for _, mask in asked[0]] == [tuple(train.sizes()[index].tolist()) for index in chosen]
    for (image, mask), index in zip(asked[0], chosen, strict=True):
        pixels, labels = train.load_pair(index)
        mean, std = (np.array(values, np.float32) for values in (setup.normalisation.mean, setup.normalisation.std))
        np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), (pixels - mean) / std, atol=1e-5)
        assert np.array_equal(mask.numpy(), labels)
    assert asked[1]["max_side"] == 64  # 5,000 pixels let in two windows of 50, and none is smaller than this


@pytest.mark.parametrize("head_epochs", [0, 2])
def test_a_new_decoder_behind_a_frozen_encoder_is_healthy(
    shapes: Path, tmp_path: Path, head_epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"encoder": "resnet18", "encoder_width": 0.125, "channels": 16}
    trained = create_model("deeplabv3plus", num_classes=3, **options).train()
    with torch.no_grad():
        for _ in range(3):
            trained(torch.randn(4, 3, 64, 64))
    encoder = trained.get_submodule("encoder").state_dict()
    head = {"fc.weight": torch.zeros(9, 64), "fc.bias": torch.zeros(9)}
    save_file({**encoder, **head}, tmp_path / "encoder.safetensors")
    kwargs = tuple(f"{name}={value}" for name, value in options.items())
    config = TrainConfig(
        **given(shapes, model="deeplabv3plus", model_kwargs=kwargs, pretrained=str(tmp_path / "encoder.safetensors"),
        batch_norm="frozen", head_epochs=head_epochs)
    )  # fmt: skip
    setup = set_up(config, QUIET)
    found: dict[str, list[Finding]] = {}

    def probe(model: Any, samples: Any, loss: Any, *, optimizer_factory: Any, batch_norm_frozen: Any, **_: Any) -> None:
        for name, frozen in (("as handed over", batch_norm_frozen), ("all", True)):
            case = build_case(
                model, samples, loss, optimizer_factory, num_classes=3, ignore_label=255, max_side=64,
                batch_norm_frozen=frozen,
            )  # fmt: skip
            found[name] = batch_norm.probe(case)

    monkeypatch.setattr(preflight_module, "diagnose_learning", probe)
    examine(setup, QUIET, [0, 1], seconds=30.0)
    assert found["as handed over"] == []
    assert found["all"][0].found.startswith("9 of 29 frozen batch normalisations have live statistics")
    assert all(parameter.requires_grad for parameter in setup.model.parameters())


def test_the_watch_keeps_to_a_pass_and_to_the_main_output(ready: Setup) -> None:
    model = create_model("unet", num_classes=3, encoder_width=0.125, channels=[8, 8, 8, 8, 8])
    setup = replace(ready, model=model, config=replace(ready.config, max_pixels=12_000))
    watch = Watch(setup, RunProgress.at_start(setup))
    whole = watch._images
    assert (len(whole.indices), whole.num_canvas <= 12_000) == (2, True)
    setup.config = replace(setup.config, max_pixels=1)
    watch = Watch(setup, RunProgress.at_start(setup))
    assert len(watch._images.indices) == 1
    expected = watch._both_modes()
    network = model.forward

    def with_aux(images: Any) -> Any:
        logits = network(images)
        return {"out": logits, "aux": logits} if model.training else logits

    model.forward = with_aux
    assert watch._both_modes() == pytest.approx(expected)


def test_an_entropy_is_that_of_a_plain_loss_alone(ready: Setup) -> None:
    def compares(**changes: Any) -> bool:
        other = replace(ready, **changes)
        return Watch(other, RunProgress.at_start(other))._alarms._is_entropy

    config, objective = ready.config, ready.criterion.objective
    assert compares()
    assert not compares(config=replace(config, pretrained="weights.pth"))
    assert not compares(config=replace(config, see="patches", patches="class"))
    assert not compares(criterion=Criterion(objective, hardest_share=0.25))
    assert not compares(criterion=Criterion(create_objective("2*ce", num_classes=3, ignore_label=255)))
    assert not compares(model=nn.ModuleDict({"aux_head": nn.Identity()}))


@pytest.mark.slow
def test_the_sweep_suggests_a_rate(shapes: Path, tmp_path: Path) -> None:
    values = given(shapes, tmp_path / "sweep", batch_norm="group")
    found = find_lr(LrConfig(**values, probes=30, sweep_batches=1), console=QUIET)
    assert found.result.suggestion is not None
    assert 1e-4 < found.result.suggestion < 0.3


def test_the_sweep_keeps_to_the_limit_of_a_pass(ready: Setup) -> None:
    """Divided otherwise, a step is the same step: the losses do not change. Hard pixels cost more than others."""
    passes: list[int] = []

    def note(_: Any, args: tuple[Any, ...]) -> None:
        parts = args[0].parts if isinstance(args[0], RaggedGroup) else [args[0]]
        passes.append(sum(part.canvas[:, 0].numel() for part in parts))

    def losses(max_pixels: int, criterion: Criterion, steps: int = 8) -> tuple[float, ...]:
        passes.clear()
        setup = replace(ready, config=replace(ready.config, max_pixels=max_pixels), criterion=criterion)
        batches = lr_finder.step_batches(ready, 1)
        update = lr_finder._Update(setup, QUIET)
        return sweep(
            setup.model.train(), batches, None, lambda model: build_optimizer(setup.config, model), high=0.01,
            steps=steps, update=update,
        ).losses  # fmt: skip

    both, plain = (Criterion(create_objective(spec, num_classes=3, ignore_label=255)) for spec in ("ce+dice", "ce"))
    handle = ready.model.register_forward_pre_hook(note)
    whole = losses(100_000, both)
    assert max(passes) > 12_000
    parts = losses(6000, both)
    assert max(passes) <= 6000
    assert parts == pytest.approx(whole, rel=1e-3)
    (raws, _), *_ = lr_finder.step_batches(ready, 1)
    with untouched(ready.model):
        optimizer = build_optimizer(ready.config, ready.model)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.0
        all_pixels, hard = (
            lr_finder._Update(replace(ready, criterion=Criterion(plain.objective, hardest_share=share)), QUIET)(
                optimizer, [raws]
            )
            for share in (1.0, 0.1)
        )
    assert hard > 1.1 * all_pixels
    handle.remove()


def test_memory_that_runs_out_halves_the_passes_of_a_sweep(ready: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Any, args: tuple[Any, ...]) -> None:
        if len(args[0].sizes) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory, or so it is said")

    handle = ready.model.register_forward_pre_hook(fail)
    update = lr_finder._Update(ready, Console(quiet=True))
    (raws, _), *_ = lr_finder.step_batches(ready, 1)
    with untouched(ready.model):
        loss = update(build_optimizer(ready.config, ready.model.train()), [raws])
    handle.remove()
    assert 0 < loss < 5
    assert "did not fit at once" in capsys.readouterr().err


def test_the_command_lr(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "unet", "--model-kwargs", *TINY, "--workers", "0", "--max-pixels", "100000"]
    common = [str(shapes), *small, "--recipe", "none", "--batch-norm", "group", "--batch-size", "4"]
    assert main(["lr", *common, "--probes", "12", "--sweep-batches", "1", "--output", str(tmp_path / "lr")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("--lr ")
    assert said[1].startswith("the loss falls from ")
    assert (tmp_path / "lr" / "lr.csv").read_text().startswith("rate,loss,smoothed\n")
    with Image.open(tmp_path / "lr" / "lr.png") as figure:
        assert figure.width > 400


@pytest.mark.slow
def test_the_command_doctor_learn(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "unet", "--model-kwargs", *TINY, "--workers", "0", "--recipe", "none", "--batch-norm", "group"]
    assert main(["doctor", "learn", str(shapes), *small, "--lr", "0.01", "--images", "2"]) == 0
    assert capsys.readouterr().out.startswith("learned 2 samples of ")


def test_shifted_masks_stop_a_short_run_too(tmp_path: Path) -> None:
    moved = write_shapes(tmp_path / "moved", sides=(72, 96))
    for path in (moved / "SegmentationClass").glob("*.png"):
        Image.fromarray(np.roll(np.array(Image.open(path)), (14, 14), (0, 1))).save(path)
    with pytest.raises(TrainingError) as caught:
        train(quick_segmenter(moved, tmp_path / "run", epochs=1), console=QUIET)
    assert caught.value.message.endswith(" (looked at 8 pairs)")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("; --no-preflight trains all the same")
    assert not (tmp_path / "run").exists()
    train(quick_segmenter(moved, tmp_path / "run", epochs=1, preflight=False), console=QUIET)
    with pytest.raises(TrainingError) as caught:
        train(quick_segmenter(moved, tmp_path / "small", epochs=1, max_side=64), console=QUIET)
    assert caught.value.message.endswith("pairs of images that --max-side 64 has shrunk, in whose pixels this is)")
    assert ", in pixels of the shrunk images; " in str(caught.value.hint)
