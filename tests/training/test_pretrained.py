"""Training that starts from weights of another run or another library."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anysize.console import Console
from anysize.errors import CheckpointError, UsageError
from anysize.models import create_model, read_card, save_weights
from anysize.training import TrainConfig
from anysize.training.pretrained import with_normalisation
from anysize.training.run import train
from toy import QUIET, quick, write_stripes

NOTHING = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0}  # weights stay where they started


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data"), count=6)


@pytest.fixture(scope="module")
def first(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "first"
    train(quick(stripes, run, epochs=2, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0)), console=QUIET)
    return run


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights" / "last.safetensors")


def test_mean_and_std_as_given(first: Path) -> None:
    card = read_card(first / "weights" / "last.json")
    assert (card.mean, card.std) == ((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))


@pytest.mark.parametrize("head", ["new", "load"])
def test_starts_from_another_run(stripes: Path, first: Path, tmp_path: Path, head: str) -> None:
    source = first / "weights" / "last.safetensors"
    train(quick(stripes, tmp_path / "run", pretrained=str(source), pretrained_head=head, **NOTHING), console=QUIET)
    before, after = weights_of(first), weights_of(tmp_path / "run")
    for name, value in after.items():
        same = torch.allclose(value, before[name], atol=1e-6)
        assert same != (head == "new" and name.startswith("head.4.")), name
    card = read_card(tmp_path / "run" / "weights" / "last.json")
    assert (card.mean, card.std) == ((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))  # as the weights expect it


def test_resuming_needs_the_weights_no_more(stripes: Path, first: Path, tmp_path: Path) -> None:
    source = tmp_path / "copy.safetensors"
    source.write_bytes((first / "weights" / "last.safetensors").read_bytes())
    source.with_suffix(".json").write_bytes((first / "weights" / "last.json").read_bytes())
    once = quick(stripes, tmp_path / "once", epochs=2, pretrained=str(source))
    train(once, console=QUIET)
    twice = quick(stripes, tmp_path / "twice", epochs=1, pretrained=str(source), sched="constant", warmup_epochs=0.0)
    train(twice, console=QUIET)
    source.unlink()
    source.with_suffix(".json").unlink()
    with pytest.raises(UsageError) as caught:
        train(TrainConfig(resume=tmp_path / "twice", epochs=2, pretrained="other.safetensors"), console=QUIET)
    assert str(caught.value) == (
        f"--pretrained is other.safetensors; {tmp_path / 'twice'} began with {source}, and goes on with weights of its "
        "own\nhint: start a new run"
    )
    result = train(TrainConfig(resume=tmp_path / "twice", epochs=2), console=QUIET)
    assert result.epochs == 2


def test_weights_of_another_library_and_other_channels(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    grey = create_model("resnet18", num_classes=1000, in_channels=1, width=0.125)
    save_file({key: value.clone() for key, value in grey.state_dict().items()}, tmp_path / "grey.safetensors")
    config = quick(
        stripes, tmp_path / "run", model="resnet18", model_kwargs=("width=0.125",), opt="sgd",
        pretrained=str(tmp_path / "grey.safetensors"), **NOTHING,
    )  # fmt: skip
    train(config, console=Console())
    said = capsys.readouterr().err
    assert "pretrained: conv1.weight adapted: 1 channel -> 3 channels" in said
    assert "pretrained: left as they were: fc (2 tensors)" in said
    assert "normalisation: measured on the training images" in said
    after = weights_of(tmp_path / "run")
    assert torch.allclose(after["conv1.weight"].sum(1), grey.conv1.weight[:, 0], atol=1e-5)
    assert torch.allclose(after["layer4.1.conv2.weight"], grey.layer4[1].conv2.weight, atol=1e-6)


def test_weights_that_do_not_fit(stripes: Path, tmp_path: Path) -> None:
    other = create_model("resnet9", num_classes=2, width=4)
    save_weights(other, tmp_path / "other.safetensors")
    config = quick(stripes, tmp_path / "run", pretrained=str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError) as caught:
        train(config, console=QUIET)
    assert "do not fit" in str(caught.value)
    assert not (tmp_path / "run").exists()
    five = create_model("fcn_small", num_classes=5, in_channels=3)
    save_weights(five, tmp_path / "five.safetensors")
    config = quick(stripes, tmp_path / "run", pretrained=str(tmp_path / "five.safetensors"), pretrained_head="load")
    with pytest.raises(CheckpointError) as caught:
        train(config, console=QUIET)
    assert caught.value.hint == "--pretrained-head new loads all others, and leaves head.4 as in the network"


def test_a_head_for_other_classes(first: Path, tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=3, classes=("down", "up"))
    source = first / "weights" / "last.safetensors"
    with pytest.raises(CheckpointError) as caught:
        train(quick(data, tmp_path / "run", pretrained=str(source), pretrained_head="load"), console=QUIET)
    assert str(caught.value) == (
        f"{source} knows the classes across, down; the images have down, up\nhint: --pretrained-head new"
    )


def test_a_card_that_is_none(stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_weights(create_model("fcn_small", num_classes=2, in_channels=3), tmp_path / "w.safetensors")
    for content in ("{}", "no json"):
        (tmp_path / "w.json").write_text(content)
        assert with_normalisation(TrainConfig(pretrained="~/w.safetensors"), 3, QUIET).mean is None
    (tmp_path / "w.json").unlink()
    train(quick(stripes, tmp_path / "run", epochs=1, mean=(1.0,) * 3, std=(2.0,) * 3), console=QUIET)
    card = tmp_path / "run" / "weights" / "last.json"
    card.rename(tmp_path / "w.json")
    assert with_normalisation(TrainConfig(pretrained="~/w.safetensors"), 3, QUIET).mean == (1.0,) * 3


def test_hints_are_flags(stripes: Path, tmp_path: Path) -> None:
    save_weights(create_model("fcn_small", num_classes=2, in_channels=4), tmp_path / "four.safetensors")
    with pytest.raises(CheckpointError) as caught:
        train(quick(stripes, tmp_path / "run", pretrained=str(tmp_path / "four.safetensors")), console=QUIET)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("images are read with 1 or 3 channels (--in-channels)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (1.0,)}, "--mean is (1.0,); it must be given together with --std"),
        ({"mean": (1.0,), "std": (0.0,)}, "--std is 0.0; it must be greater than 0"),
        ({"mean": (float("nan"),), "std": (1.0,)}, "--mean is nan; it must be a finite number"),
    ],
)
def test_numbers_that_cannot_be(options: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**options)
    assert str(caught.value) == message


def test_the_normalisation_of_published_weights() -> None:
    config = with_normalisation(TrainConfig(pretrained="resnet18.a1_in1k"), 3, QUIET)
    assert config.mean == pytest.approx((123.675, 116.28, 103.53))
    assert config.std == pytest.approx((58.395, 57.12, 57.375))
    for other in (TrainConfig(pretrained="resnet18.a1_in1k", mean=(1.0,) * 3, std=(2.0,) * 3), TrainConfig()):
        assert with_normalisation(other, 3, QUIET) == other
    grey = with_normalisation(TrainConfig(pretrained="resnet18.a1_in1k"), 1, QUIET)
    assert grey.mean is None


def test_one_number_a_channel(stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        train(quick(stripes, tmp_path / "run", mean=(1.0,), std=(2.0,)), console=QUIET)
    assert str(caught.value) == "--mean has 1 numbers; the images have 3 channel(s)\nhint: give 3, in 0..255"
