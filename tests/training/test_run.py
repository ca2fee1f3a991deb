"""`train`: it learns, it is repeatable, and it leaves a complete run folder."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from anysize.config_file import read_config
from anysize.data.problems import FileProblem
from anysize.errors import DataError, ImageSizeError, LayoutError, NonFiniteLossError, UsageError
from anysize.inference import EvalConfig
from anysize.inference.evaluate import evaluate
from anysize.models import create_model
from anysize.training import TrainConfig
from anysize.training import run as run_module
from anysize.training import setup as setting_up
from anysize.training.run import train
from toy import QUIET, quick, table_of, write_stripes


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights" / "last.safetensors")


def events_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def test_learns_the_stripes(trained: Path) -> None:
    rows = table_of(trained)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["val_accuracy"]) > 0.9
    assert float(rows[-1]["train_accuracy"]) > 0.9
    assert float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    best = max(rows, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    card = json.loads((trained / "weights" / "best.json").read_text())
    assert {name: str(value) for name, value in card["results"].items() if name in best} == best
    assert card["results"]["epoch"] > 1


def test_a_network_with_batch_normalisation_learns_them_too(stripes: Path, tmp_path: Path) -> None:
    config = quick(stripes, tmp_path / "run", model="resnet9", model_kwargs=("width=8",), epochs=8, lr=0.005)
    assert train(config, console=QUIET).best["val_accuracy"] > 0.9


def test_the_run_folder_is_complete(trained: Path, stripes: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert (config["data"], config["output"], config["resume"]) == (str(stripes), None, None)
    assert read_config(TrainConfig, trained / "config.yaml") == quick(
        stripes, None, epochs=4, tensorboard=True, recipe="none", weight_decay=0.02
    )
    assert (trained / "left_out.csv").read_text() == "path,reason\n"
    for name in ("best", "last"):
        card = json.loads((trained / "weights" / f"{name}.json").read_text())
        assert (card["model"], card["classes"], card["in_channels"]) == ("fcn_small", ["across", "down"], 3)
        assert load_file(trained / "weights" / f"{name}.safetensors").keys() == last_weights(trained).keys()
    assert (trained / "checkpoints" / "last.safetensors").is_file()
    pictures = sorted(path.relative_to(trained).as_posix() for path in trained.rglob("*.png"))
    previews = [f"previews/epoch_00{epoch}.png" for epoch in range(1, 5)]
    assert pictures == ["plots/confusion.png", "plots/curves.png", *previews]
    for name in pictures:
        with Image.open(trained / name) as image:
            image.load()
            assert min(image.size) > 50
    assert [path.stat().st_size > 1000 for path in (trained / "tensorboard").iterdir()] == [True]
    hidden = [path.relative_to(trained).as_posix() for path in trained.rglob(".*")]
    assert hidden == [".lock"], "temporary files were left"


def test_events_tell_the_story(trained: Path) -> None:
    events = events_of(trained)
    assert [event["event"] for event in events] == ["start", *["epoch"] * 4, "end"]
    assert events[-1]["ended"] == "finished"
    assert [event["epoch"] for event in events[1:5]] == [1, 2, 3, 4]
    times = [event["time"] for event in events]
    assert times == sorted(times)


def test_the_same_seed_gives_the_same_run(trained: Path, stripes: Path, tmp_path: Path) -> None:
    """Also with a worker, in another folder, and without TensorBoard."""
    train(quick(stripes, tmp_path / "again", epochs=4, workers=1), console=QUIET)
    train(quick(stripes, tmp_path / "other", epochs=4, seed=1), console=QUIET)
    for name in ("best", "last"):
        first, again, other = (
            (run / "weights" / f"{name}.safetensors").read_bytes()
            for run in (trained, tmp_path / "again", tmp_path / "other")
        )
        assert first == again
        assert first != other
    assert table_of(trained) == table_of(tmp_path / "again")
    assert table_of(trained) != table_of(tmp_path / "other")


def test_the_best_weights_are_those_of_the_best_epoch(stripes: Path, tmp_path: Path) -> None:
    """A rate that overshoots, so that the best epoch is not the last one."""
    network = {"model": "resnet9", "model_kwargs": ("width=4",)}
    config = quick(stripes, tmp_path / "run", lr=0.03, epochs=3, sched="constant", **network)
    result = train(config, console=QUIET)
    rows = table_of(result.run)
    ranks = [(float(row["val_accuracy"]), -float(row["val_loss"])) for row in rows]
    assert result.best_epoch == 1 + ranks.index(max(ranks))
    assert result.best_epoch < len(rows), "choose another rate: this one does not overshoot"
    for which, row in (("best", rows[result.best_epoch - 1]), ("last", rows[-1])):
        evaluation = evaluate(EvalConfig(run=result.run, weights=which, workers=0, device="cpu"), console=QUIET)
        assert evaluation.loss == pytest.approx(float(row["val_loss"]), rel=1e-5)
        assert evaluation.accuracy == pytest.approx(float(row["val_accuracy"]))
        card = json.loads((result.run / "weights" / f"{which}.json").read_text())
        assert card["results"]["epoch"] == int(row["epoch"])


def test_patience_stops_early_and_the_plateau_cuts_the_rate(stripes: Path, tmp_path: Path) -> None:
    """A rate that moves nothing: no epoch is better than the first."""
    still = {
        "lr": 1e-30,
        "weight_decay": 0.0,
        "warmup_epochs": 0.0,
        "sched": "plateau",
        "plateau_patience": 1,
    }
    config = quick(stripes, tmp_path / "run", epochs=9, patience=3, plateau_factor=0.5, **still)
    result = train(config, console=QUIET)
    assert (result.ended, result.epochs, result.best_epoch) == ("stopped early", 4, 1)
    assert [float(row["lr"]) for row in table_of(result.run)] == [1e-30, 1e-30, 0.5e-30, 0.25e-30]


def test_how_a_step_is_split_does_not_change_its_gradient(stripes: Path, tmp_path: Path) -> None:
    """The same steps, each on one canvas, on canvases of their own, one image or two at a time, on static canvases."""
    whole = {"launch_pixels": 10**9}
    splits = {
        "whole": whole,
        "canvases": {"launch_pixels": 0},
        "few": {"max_pixels": 2600, **whole},
        "static": {"launch_pixels": 0, "max_canvases": 3},
    }
    for name, limits in splits.items():
        train(quick(stripes, tmp_path / name, epochs=2, opt="sgd", lr=0.1, **limits), console=QUIET)
    padding = {name: float(table_of(tmp_path / name)[0]["padding_share"]) for name in splits}
    assert padding["whole"] > padding["canvases"]
    assert padding["whole"] > padding["few"]
    expected = last_weights(tmp_path / "whole")
    for name in ("canvases", "few", "static"):
        found = last_weights(tmp_path / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5)
        assert float(table_of(tmp_path / name)[-1]["train_loss"]) == pytest.approx(
            float(table_of(tmp_path / "whole")[-1]["train_loss"]), abs=1e-5
        )


def test_a_loss_that_is_not_finite_stops_before_the_update(
    stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, *a, **k: (updates.append(1), step(self, *a, **k))[1])
    done = []
    train_step = run_module.train_step
    monkeypatch.setattr(run_module, "train_step", lambda *a, **k: (train_step(*a, **k), done.append(1))[0])
    config = quick(stripes, tmp_path / "run", opt="sgd", lr=1e30, warmup_epochs=0.0)
    with pytest.raises(NonFiniteLossError) as caught:
        train(config, console=QUIET)
    head, *names = caught.value.message.split("\n  ")
    assert re.fullmatch(r"the loss is (nan|inf); training stopped before the update\. The images of the batch:", head)
    assert 1 <= len(names) <= 8
    assert all(Path(name).is_file() for name in names)
    assert caught.value.hint == (
        "lower --lr, or raise --warmup-epochs; if it always happens on the same files, look at them"
    )
    assert len(updates) == len(done) > 0
    assert not (tmp_path / "run" / "weights").exists()


def test_a_folder_with_a_run_is_not_overwritten(trained: Path, stripes: Path) -> None:
    before = (trained / "metrics.csv").read_bytes()
    with pytest.raises(UsageError) as caught:
        train(quick(stripes, trained), console=QUIET)
    assert caught.value.message == f"the run folder {trained} exists and is not empty"
    assert caught.value.hint == f"go on with it by --resume {trained}, or choose another --output"
    assert (trained / "metrics.csv").read_bytes() == before


def test_without_an_output_runs_are_numbered(stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [train(quick(stripes, None, epochs=1), console=QUIET).run for _ in range(2)]
    assert folders == [Path("runs/stripes-fcn_small"), Path("runs/stripes-fcn_small-2")]


def test_images_that_are_too_small(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=6)
    for name in ("across/x.png", "down/y.png"):
        Image.new("RGB", (3, 9)).save(data / name)
    with pytest.raises(ImageSizeError) as caught:
        train(quick(data, tmp_path / "run", val_split=0.1), console=QUIET)
    assert caught.value.message == (
        "2 of 14 images are too small; fcn_small needs at least 4 pixels a side:\n"
        "  down/y.png is 9x3 (height x width)\n"  # in training
        "  across/x.png is 9x3 (height x width)"  # in validation
    )
    assert caught.value.hint == "--min-side 4 leaves them out"
    result = train(quick(data, tmp_path / "run", val_split=0.1, min_side=4, epochs=1), console=QUIET)
    assert (result.run / "left_out.csv").read_text() == (
        "path,reason\ndown/y.png,9x3 is below --min-side 4\nacross/x.png,9x3 is below --min-side 4\n"
    )


def test_a_limit_that_leaves_nothing_or_no_image_of_a_class(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=6, sides=(12, 14))
    with pytest.raises(DataError) as caught:
        train(quick(data, tmp_path / "run", min_side=15), console=QUIET)
    assert caught.value.message == (
        "--min-side 15 leaves 0 training and 0 validation images; at least one of each is required"
    )
    for path in sorted((data / "down").iterdir()):
        with Image.open(path) as image:
            large = image.resize((20, 20))
        large.save(path)
    with pytest.raises(DataError) as caught:
        train(quick(data, tmp_path / "run", min_side=15), console=QUIET)
    assert caught.value.message == "--min-side 15 leaves no image to train on of: across"
    assert caught.value.hint == "lower --min-side"


def test_images_without_labels(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=2) / "down"
    with pytest.raises(LayoutError) as caught:
        train(quick(data, tmp_path / "run"), console=QUIET)
    assert caught.value.message == (
        f"{data} holds images without labels (flat_folder); training needs a class for each"
    )
    assert caught.value.hint == (
        "sort the images into one folder a class, or write a CSV file with the columns path,label; a segmenter needs a "
        "mask for each, in a folder masks/ beside images/"
    )


def test_unreadable_files_are_skipped_and_listed_if_asked_for(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=6)
    whole = (data / "down" / "00.png").read_bytes()
    (data / "down" / "header.png").write_bytes(b"not at all")
    (data / "down" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (data / "down" / "notes.txt").write_text("no image")
    with pytest.raises(DataError) as caught:
        train(quick(data, tmp_path / "run"), console=QUIET)
    head, *lines = caught.value.message.splitlines()
    assert head == "2 of 14 images cannot be read:"
    assert [line.partition(": ")[0] for line in lines] == ["  down/header.png", "  down/torn.png"]
    result = train(quick(data, tmp_path / "run", skip_unreadable=True, epochs=1), console=QUIET)
    with (result.run / "left_out.csv").open(newline="") as file:
        left_out = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert left_out.keys() == {"down/header.png", "down/torn.png", "down/notes.txt"}
    assert all(left_out.values())


def test_left_out_files_of_any_bytes(tmp_path: Path) -> None:
    from anysize.training.source import write_left_out

    name = os.fsdecode(b"caf\xe9, 1.png")
    write_left_out(tmp_path / "left_out.csv", [FileProblem(name, "broken")])
    assert (tmp_path / "left_out.csv").read_bytes() == b'path,reason\n"caf\xe9, 1.png",broken\n'


def test_networks_without_one_answer_an_image(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=3, sides=(28, 40))
    with pytest.raises(UsageError) as caught:
        train(
            quick(data, tmp_path / "run", model="mnist_fcn", model_kwargs=(), scale=(1.0, 1.0), crop=1.0), console=QUIET
        )
    assert re.fullmatch(
        r"mnist_fcn answers an image of 3[0-9]x[0-9]+ \(height x width\) with a map of [1-4]x[1-4] answers; labels of "
        r"whole images need one answer each\nhint: take a network that ends in a pool over all positions \(fcn_small, "
        r"resnet9; mnist_fcn with --model-kwargs average=true\), or give masks to train a segmenter",
        str(caught.value),
    )
    assert not (tmp_path / "run").exists()


def test_validation_images_are_answered_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_stripes(data / "train", count=3, sides=(28, 28))
    write_stripes(data / "val", count=2, sides=(40, 40))
    plain: dict[str, Any] = {"scale": (1.0, 1.0), "crop": 1.0, "model_kwargs": ()}
    with pytest.raises(UsageError, match=r"^mnist_fcn answers an image of 40x40 \(height x width\) with a map of 4x4 "):
        train(quick(data, tmp_path / "run", model="mnist_fcn", **plain), console=QUIET)
    with pytest.raises(ImageSizeError, match=r"^mnist_dense was given images of 40x40 "):
        train(quick(data, tmp_path / "run", model="mnist_dense", **plain), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_network_for_one_size(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=3, sides=(28, 28))
    with pytest.raises(UsageError) as refused:
        train(quick(data, tmp_path / "run", model="mnist_dense", model_kwargs=()), console=QUIET)
    assert str(refused.value) == (
        "mnist_dense takes images of 28x28 alone, and --scale 0.8 1.25 --crop 0.9 would change their sizes\n"
        "hint: --scale 1 1 --crop 1 leaves every image at its size"
    )
    plain = {"scale": (1.0, 1.0), "crop": 1.0, "epochs": 1}
    train(quick(data, tmp_path / "run", model="mnist_dense", model_kwargs=(), **plain), console=QUIET)
    other = write_stripes(tmp_path / "other", count=3, sides=(28, 31))
    with pytest.raises(ImageSizeError) as caught:
        train(quick(other, tmp_path / "again", model="mnist_dense", model_kwargs=(), **plain), console=QUIET)
    assert "resize the images to 28x28" in str(caught.value)


def test_network_options_that_cannot_be(stripes: Path, tmp_path: Path) -> None:
    config = quick(stripes, tmp_path / "run", model="resnet9", model_kwargs=("width=wide",))
    with pytest.raises(UsageError, match=r"^resnet9 cannot be built with --model-kwargs width=wide: "):
        train(config, console=QUIET)


def test_a_network_that_has_collapsed_is_told(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All maps negative under the final ReLU: zero for every image, and no gradient."""

    def dead(name: str, model_kwargs: tuple[str, ...], **options: Any) -> torch.nn.Module:
        model = create_model(name, **options)
        last = model.get_submodule("head.4")
        assert isinstance(last, torch.nn.Conv2d)
        torch.nn.init.constant_(last.bias, -1e6)
        return model

    monkeypatch.setattr(setting_up, "model_from_flags", dead)
    train(quick(stripes, tmp_path / "run", model_kwargs=(), epochs=1), console=QUIET)
    assert capsys.readouterr().err == (
        "warning: every validation image gets the same answer (the probabilities vary by 0.0e+00): "
        "lower --lr, and for fcn_small use --model-kwargs final_relu=false "
        "(a dead final ReLU gets no gradient)\n"
    )
    assert [event["event"] for event in events_of(tmp_path / "run")] == ["start", "epoch", "collapsed", "end"]
