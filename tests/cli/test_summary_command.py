"""``anysize summary``: tables for people, JSON of a fixed form for programs, and errors that help."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from anysize.cli import main
from anysize.inference import speed, summaries
from anysize.inference.summary_config import SummaryConfig
from anysize.models import list_models


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024"))


def test_one_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "resnet9", "--size", "64x96", "--depth", "1", "--model-kwargs", "width=4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "resnet9: 1,000 classes, 3 channels",
        "",
        "layer         kind               output          parameters",
        "(network)     Resnet9            N x 1000",
        "  features    Sequential         N x 32 x ? x ?      26,020",
        "  pool        AdaptiveAvgPool2d  N x 32 x 1 x 1           0",
        "  classifier  Linear             N x 1000            33,000",
        "(folded at depth 1 of 5; --depth 5 shows all)",
        "",
        "parameters       59,020 (trainable 59,020, frozen 0)",
        "buffers          280; parameters and buffers 59,300",
        "file             237 kB in float32",
        "receptive field  the whole image (last map: 111x111)",
        "stride           16 (last map)",
        "smallest image   1x1",
        "",
        "one image of 64x96, float32",
        "multiply-adds    1.41 M, of convolutions and matrix products",
        "training         240 kB of activations kept for the backward pass",
        "evaluation       123 kB of activations at once, at most",
    ]


def test_the_table_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["summary", "resnet9", "--size", "32x32", "--depth", "5"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(table) == 41
    assert max(map(len, table)) <= 60


def test_networks_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_ENOUGH_SECONDS", 0.1)
    assert main(["summary", "fcn_small", "resnet18", "--size", "40x56", "--batch-size", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == (
        ["network", "size", "parameters", "trainable", "file", "mult-adds", "training", "field", "images/s", "top-1"]
    )
    assert lines[2].split()[:6] == ["resnet18", "40x56", "11,699,112", "11,689,512", "46.8", "MB"]
    assert lines[2].split()[-4:-2] == ["all", "(435)"]
    assert lines[2].split()[-1] == "69.8"
    assert float(lines[1].split()[-2].replace(",", "")) > 0
    assert lines[1].split()[-1] == "-"
    assert lines[-1] == "top-1       resnet18: torchvision IMAGENET1K_V1, 224 pixels"
    # No line for one network alone: both were measured as asked, in seven rounds or until the time was over.
    assert lines[-2].startswith("images/s    evaluation, float32, channels_last, batches of 2, ")


class Slow(nn.Module):
    """Takes a time that a clock of its own counts; the first pass takes longer."""

    def __init__(self, seconds: float, clock: list[float]) -> None:
        super().__init__()
        self.seconds, self.clock, self.batches = seconds, clock, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.clock[0] += self.seconds * len(images) * (1 if self.batches else 1.5)
        self.batches.append(len(images))
        return images


@pytest.mark.parametrize(
    ("seconds", "batches", "most", "rate"),
    [
        (0.001, [1, 1, 4, *[4] * 7], 1, 1000),
        (0.1, [1, 1, 4, *[4] * 7], 10, 10),
        (0.4, [1, 1, 4, *[4] * 4], 10, 2.5),  # until six seconds of rounds are over
        (0.5, [1, 1, 4, *[4] * 3], 10, 2),
        (0.9, [1] * 8, 10, 1 / 0.9),  # four of them would take too long
        (3.0, [1, 1], 10, 1 / 3.0),
        (7.2, [1], 11, None),
    ],
)
def test_measuring_ends_in_time(
    seconds: float, batches: list[int], most: float, rate: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(speed, "_now", lambda: clock[0])
    monkeypatch.setattr(speed, "_products_per_second", lambda: 1e9)
    model = Slow(seconds, clock)
    told = speed.measure_images_per_second(model, 1, (2, 2), batch_size=4, multiply_adds=1000)
    assert clock[0] <= most
    assert model.batches == batches
    if rate is None:
        assert told == speed.NotMeasured(reason="one image of 2x2 takes about 11 s")
    else:
        assert isinstance(told, speed.Speed)
        assert told.images_per_second == pytest.approx(rate)
        assert told.batch_size == batches[-1]


def test_what_would_take_too_long_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_products_per_second", lambda: 1e9)
    model = Slow(1.0, [0.0])
    told = speed.measure_images_per_second(model, 1, (2000, 3), batch_size=4, multiply_adds=20_000_000_000)
    assert told == speed.NotMeasured(reason="one image of 2000x3 would take about 20 s")
    assert model.batches == []


def test_the_legend_says_what_was_measured_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(model: nn.Module, *_: object, batch_size: int, **__: object) -> speed.Speed | speed.NotMeasured:
        if type(model).__name__ == "Resnet9":
            return speed.NotMeasured(reason="one image of 32x32 takes 20 s or more")
        small = type(model).__name__ == "FcnSmall"
        count = batch_size if small else 1
        return speed.Speed(
            images_per_second=5, spread=1, rounds=7 if small else 2, batch_size=count, threads=1, machine="abacus"
        )

    monkeypatch.setattr(summaries, "measure_images_per_second", measure)
    names = ["fcn_small", "resnet9", "mnist_fcn"]
    assert main(["summary", *names, "--size", "32x32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2] for line in lines[1:4]] == ["5", "-", "5"]
    assert lines[-3:] == [
        "images/s    evaluation, float32, channels_last, batches of 8, 1 thread, abacus",
        "            resnet9: not measured: one image of 32x32 takes 20 s or more",
        "            mnist_fcn: batches of 1, 2 rounds; more would have taken too long",
    ]
    assert main(["summary", *names, "--size", "32x32", "--json"]) == 0
    contents = json.loads(capsys.readouterr().out)
    assert [content["speed"] is None for content in contents] == [False, True, False]
    assert [content["not_measured"] for content in contents] == [None, "one image of 32x32 takes 20 s or more", None]


def test_the_help_says_what_takes_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Only shapes are computed, but where several are compared" in text


def test_a_comparison_too_wide_comes_in_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["summary", "fcn_small", "resnet9", "--no-speed"]) == 0
    table, *_ = capsys.readouterr().out.partition("\n\nparameters")[0].split("\n\n\n")
    parts = [part.splitlines() for part in table.split("\n\n")]
    assert len(parts) > 1
    assert all(part[1].startswith("fcn_small ") and part[2].startswith("resnet9 ") for part in parts)
    assert max(len(line) for part in parts for line in part) <= 60


KEYS = {
    "name": str,
    "num_classes": int,
    "in_channels": int,
    "size": list,
    "counts": dict,
    "costs": dict,
    "field": dict,
    "smallest": dict,
    "layers": list,
    "published": dict,
    "speed": type(None),
    "not_measured": type(None),
}


def test_json_keeps_its_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "resnet18", "--json"]) == 0
    (content,) = json.loads(capsys.readouterr().out)
    assert {name: type(value) for name, value in content.items()} == KEYS
    assert content["size"] == [224, 224]
    assert content["counts"] == {
        "parameters": 11_689_512,
        "trainable": 11_689_512,
        "buffers": 9_600,
        "float32_bytes": 4 * 11_699_112 + 8 * 20,
        "all_parameters": 11_699_112,
    }
    assert content["costs"].keys() == {"multiply_adds", "training_bytes", "evaluation_bytes"}
    assert content["costs"]["multiply_adds"] == 1_814_073_344
    assert content["field"] == {
        "of": "last map",
        "size": [435, 435],
        "stride": [32, 32],
        "whole_image": True,
        "share_of_image": False,
        "unknown": None,
    }
    assert content["smallest"] == {"side": 1, "multiple_of": 1, "only": False}
    assert content["published"]["top1"] == 69.758
    first = content["layers"][0]
    assert first.keys() == {"name", "kind", "depth", "calls", "shape", "parameters", "own_parameters"}
    assert first["shape"] == ["N", 1000]


def test_a_trained_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(trained), str(trained / "weights" / "last.safetensors"), "--no-speed", "--json"]) == 0
    contents = json.loads(capsys.readouterr().out)
    assert len(contents) == 2
    for content in contents:
        assert (content["num_classes"], content["size"]) == (2, [224, 224])
        assert content["counts"]["parameters"] > 1000
    assert main(["summary", str(trained), "--num-classes", "3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --num-classes is 3, and {trained} is a trained network, which has its own\nhint: ")


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({}, True),
        ({"num_classes": 1000, "in_channels": 3}, True),
        ({"num_classes": 2}, False),
        ({"in_channels": 1}, False),
        ({"model_kwargs": ("keras_padding=false",)}, False),
    ],
)
def test_no_accuracy_for_another_network(options: dict[str, Any], same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "summarise", lambda *_, **told: told["size"])  # the rest takes a second
    (compared,) = summaries.summarise_named(SummaryConfig(models=("xception",), **options))
    assert (compared.published is not None) == same
    assert compared.summary == (299, 299)


def test_a_trained_network_is_not_the_one_that_its_path_names(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = trained / "weights"
    for suffix in ("safetensors", "json"):
        shutil.copy(weights / f"last.{suffix}", tmp_path / f"resnet50.{suffix}")
    shutil.copytree(trained, tmp_path / "resnet18")
    shutil.copytree(trained, tmp_path / "mnist_mine")
    monkeypatch.chdir(tmp_path)
    assert main(["summary", "resnet50.safetensors", "resnet18", "mnist_mine", "--no-speed", "--json"]) == 0
    for content in json.loads(capsys.readouterr().out):
        assert (content["num_classes"], content["published"], content["size"]) == (2, None, [224, 224])


def test_the_usual_size_of_a_network_of_one_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "mnist_dense", "--json", "--model-kwargs", "image_size=20"]) == 0
    (content,) = json.loads(capsys.readouterr().out)
    assert content["size"] == [20, 20]


@pytest.mark.parametrize(
    ("name", "classes", "channels", "size"),
    [
        ("fcn_small", 1000, 3, [224, 224]),
        ("mnist_fcn", 10, 1, [28, 28]),
        ("unet", 21, 3, [224, 224]),
        ("xception", 1000, 3, [299, 299]),
    ],
)
@pytest.mark.slow
def test_what_is_usual_for_a_network(
    name: str, classes: int, channels: int, size: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["summary", name, "--json"]) == 0
    (content,) = json.loads(capsys.readouterr().out)
    assert (content["num_classes"], content["in_channels"], content["size"]) == (classes, channels, size)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "",
            f"error: no model was given; there are {', '.join(list_models())}, and those of timm:, torchvision: and "
            "smp:\nhint: anysize summary resnet9, or the folder of a run\n",
        ),
        ("resnet9 --size 224", "error: --size is 224; it must be height x width\nhint: --size 480x640\n"),
        ("resnet9 --size 0x20", "error: --size is 0x20; it must be height x width\nhint: --size 480x640\n"),
        ("fcn_small --size 3x9", "error: --size is 3x9; fcn_small needs at least 4x4\nhint: --size 4x4, or larger\n"),
        ("resnet9 --depth 0", "error: --depth is 0; it must be at least 1\n"),
        ("resnet9 --num-classes 0", "error: --num-classes is 0; it must be at least 1\n"),
        (
            "resnet9 fcn_small --model-kwargs width=4",
            "error: --model-kwargs width=4 was given with 2 models; options are those of one network\n"
            "hint: anysize summary resnet9 --model-kwargs width=4\n",
        ),
        ("resnet9 --model-kwargs depth=4", "error: resnet9 has no option depth; its options are width\n"),
        (
            "nowhere.safetensors",
            "error: there is no card at nowhere.json\nhint: weights need the .json file that was written beside them\n",
        ),
    ],
)
def test_what_cannot_be_summarised(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", *line.split()]) in (2, 3, 7)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", message)


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "resnet8"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 'resnet8' names no model; there are ")
    assert error.endswith(("\nhint: did you mean resnet9?\n", "\nhint: did you mean resnet18?\n"))
