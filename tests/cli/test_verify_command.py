"""``anysize verify``: a table for people, JSON for programs, and an exit code that can be relied upon."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anysize.cli import main
from anysize.models import list_models, registry

QUICK = ["--device", "cpu", "--sizes", "12x17,21x9"]


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024"))


class _Refused(nn.Module):
    def forward(self, images: Any) -> Any:
        return torch.cumsum(images, 2)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network that cannot be exact."""
    registry.list_models()

    def build(num_classes: int, in_channels: int = 3) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, num_classes, 3), _Refused())

    monkeypatch.setitem(registry._BUILDERS, "adds_up", build)
    return "adds_up"


def test_a_network_that_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "resnet9", *QUICK, "--no-training"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["model  resnet9", "sizes  12x17, 21x9"]
    assert lines[2].split() == ["mode", "dtype", "compared", "error", "tolerance"]
    assert len(lines) == 3 + 8 + 1
    assert all(line.startswith("evaluation  float") for line in lines[3:-1])
    assert lines[-1] == "exact"


def test_a_trained_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(trained), str(trained / "weights" / "last.safetensors"), "--no-randomise", "--dtype", "float64"]
    assert main(["verify", *arguments, *QUICK, "--json"]) == 0
    contents = json.loads(capsys.readouterr().out)
    assert [content["model"] for content in contents] == arguments[:2]
    for content in contents:
        assert content["exact"] is True
        assert content["verdict"] == "exact"
        assert {entry["mode"] for entry in content["entries"]} == {"evaluation", "training"}
        assert content["sizes"] == [[12, 17], [21, 9]]


def test_a_network_that_is_refused(refused: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", refused, "resnet9", *QUICK, "--no-training"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "refused: torch.cumsum in Sequential.1"
    assert lines[-1] == "exact"
    assert main(["verify", refused, *QUICK, "--json"]) == 4
    (content,) = json.loads(capsys.readouterr().out)
    assert content["max_error"] is None
    assert content["refused"][0]["function"] == "torch.cumsum"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: no model was given\nhint: anysize verify resnet9, or the folder of a run\n"),
        (
            ["resnet9", "--sizes", "12x17"],
            "error: --sizes is 12x17; it must be two sizes or more, height x width, with commas between them\n"
            "hint: --sizes 33x47,41x35\n",
        ),
        (
            ["fcn_smal"],
            f"error: 'fcn_smal' names no model; there are {', '.join(list_models())}\nhint: did you mean fcn_small?\n",
        ),
        (
            ["nowhere.safetensors"],
            "error: there is no card at nowhere.json\nhint: weights need the .json file that was written beside them\n",
        ),
    ],
)
def test_what_cannot_be_verified(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *arguments]) in (2, 7)
    assert capsys.readouterr().err == message
