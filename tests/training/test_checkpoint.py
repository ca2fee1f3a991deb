"""Checkpoints: all of the state and nothing by halves, and errors that say what is the matter."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from anysize.errors import CheckpointError
from anysize.stepping.optimizers import create_optimizer
from anysize.stepping.schedules import Plateau
from anysize.stepping.sums import StepSums
from anysize.training.checkpoint import load_checkpoint, save_checkpoint
from anysize.training.progress import RunProgress


def build(opt: str = "adamw", width: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    return model, create_optimizer(model, name=opt, lr=0.25, momentum=0.9, weight_decay=0.02)


def advance(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_a_round_trip_goes_on_exactly(opt: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model, optimizer = build(opt)
    advance(model, optimizer)
    progress = RunProgress(plateau=Plateau(patience=2, factor=0.1), epoch=3, step=5)
    progress.sums = StepSums(totals=(1.5, 2.0), counts=(3.0, 4.0), weights=(1.0, 0.5), num_images=2)
    save_checkpoint(tmp_path / "a.safetensors", model, optimizer, progress.to_json())
    advance(model, optimizer)
    torch.manual_seed(99)
    other, other_optimizer = build(opt)
    found = load_checkpoint(tmp_path / "a.safetensors", other, other_optimizer)
    assert RunProgress.from_json(found.progress) == progress
    advance(other, other_optimizer)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_run_without_a_step_can_be_saved(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", *build(), {})
    assert load_checkpoint(tmp_path / "a.safetensors", *build()).progress == {}


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "a.safetensors", *build())
    assert caught.value.message == f"there is no checkpoint at {tmp_path}/a.safetensors"
    assert caught.value.hint == "--resume takes the folder of a run that was started before"


def test_a_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *build(), {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, *build())
    assert caught.value.message.startswith(f"the checkpoint {path} is damaged: ")


@pytest.mark.parametrize("metadata", [None, {"format": "0"}])
def test_tensors_that_are_no_checkpoint(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, *build())
    assert caught.value.message == f"{path} is no checkpoint of anysize in format 2"


def test_another_network(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *build(width=3), {})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, *build(width=4))
    assert caught.value.message == (
        f"the weights in {path} do not fit the network:\n"
        "  0.weight has shape (3, 2), the network's is (4, 2)\n"
        "  0.bias has shape (3,), the network's is (4,)\n"
        "  1.weight has shape (3,), the network's is (4,)\n"
        "  1.bias has shape (3,), the network's is (4,)\n"
        "  1.running_mean has shape (3,), the network's is (4,)\n"
        "  1.running_var has shape (3,), the network's is (4,)"
    )


def test_another_optimiser(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, *build("sgd"), {})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, *build("adamw"))
    assert caught.value.message == f"the checkpoint {path} is of the optimiser SGD, and this run has AdamW"


def test_events_are_json_even_where_a_loss_is_not_a_number(tmp_path: Path) -> None:
    from anysize.training.run_folder import RunFolder

    RunFolder(tmp_path).log_event("epoch", 1.0, {"val_loss": float("nan"), "lr": 0.5, "epoch": 2})
    assert json.loads((tmp_path / "events.jsonl").read_text(), parse_constant=pytest.fail) == {
        "time": 1.0,
        "event": "epoch",
        "val_loss": None,
        "lr": 0.5,
        "epoch": 2,
    }
