"""The whole report: what it says to people and to programs."""

import json
import re
from pathlib import Path

import pytest

from anysize.cli import main
from anysize.errors import PlanError, UsageError
from anysize.memory import LargestImage, MemoryUse
from anysize.planning import choices, report
from anysize.planning.config import PlanConfig
from anysize.planning.lines import report_lines
from anysize.planning.machine import Machine, measure_machine
from anysize.planning.report import report_plan
from anysize.timing import StepCost

COST = StepCost(seconds_per_pixel=1e-6, seconds_per_launch=0.01, seconds_per_new_canvas=0.1, seconds_per_step=0.02)
USE = MemoryUse(bytes_fixed=2**20, bytes_per_pixel=1024.0, elements_per_pixel=32.0)


def words(text: str) -> list[str]:
    return text.split()


@pytest.fixture(autouse=True)
def _few_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "NUMBERS", (1, 2, 4))
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")  # torch is loaded already, which would be noted


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[LargestImage]:
    """A machine of known prices; lists the largest images that it was asked about."""
    asked = []

    def measure(config: PlanConfig, table: object, num_classes: int, largest: LargestImage) -> Machine:
        asked.append(largest)
        limit = 6_400 if config.max_pixels == "auto" else config.max_pixels
        return Machine(
            device="cpu", cost=COST, memory=USE, available_bytes=3 * 2**30, max_pixels=limit, notes=("a note",)
        )

    monkeypatch.setattr(report, "measure_machine", measure)
    return asked


def test_json_has_stable_keys(
    stripes: Path, tmp_path: Path, machine: list[LargestImage], capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "plan.svg"
    flags = ["--max-canvases", "2", "--batch-size", "8", "--epochs", "10", "--output", str(figure), "--json"]
    assert main(["plan", str(stripes), *flags]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert words(
        "data layout num_train num_val num_classes left_out notes num_sizes heights widths real_megapixels "
        "max_pixels batch_size epochs num_steps num_forwards num_canvases num_static padding_share "
        "pad_to_largest_share random_batches_share square_side square_median_distortion square_distorted_share "
        "square_lost_share square_invented_share choices canvases worst_batches largest measured figure"
    ) == list(shown)
    assert words(
        "max_canvases num_canvases padding_share own_share canvas_pixels num_forwards forwards_per_step "
        "new_canvases_first_epoch new_canvases_later_epoch first_epoch_seconds later_epoch_seconds total_seconds "
        "is_chosen is_fastest"
    ) == list(shown["choices"][0])
    assert [row["max_canvases"] for row in shown["choices"]] == [1, 2, 4, None]
    (chosen,) = (row for row in shown["choices"] if row["is_chosen"])
    assert (chosen["max_canvases"], chosen["padding_share"]) == (2, shown["padding_share"])
    assert sum(row["is_fastest"] for row in shown["choices"]) == 1
    assert words(
        "canvas num_images image_share padding_share pixel_share num_forwards batch_images max_images batch_bytes"
    ) == list(shown["canvases"][0])
    assert sum(row["num_images"] for row in shown["canvases"]) == shown["num_train"] == 32
    assert list(shown["largest"]) == words("canvas num_images padding_share megapixels paths")
    assert 1 <= len(shown["worst_batches"]) <= 3
    assert all((stripes / path).is_file() for path in shown["worst_batches"][0]["paths"])
    assert words(
        "model device seconds_per_pixel seconds_per_launch seconds_per_new_canvas seconds_per_step launch_pixels "
        "new_canvas_pixels bytes_per_pixel bytes_fixed available_bytes first_epoch_seconds "
        "first_epoch_new_canvas_seconds later_epoch_seconds total_seconds"
    ) == list(shown["measured"])
    seconds = chosen["canvas_pixels"] * 1e-6 + shown["num_forwards"] * 0.01 + shown["num_steps"] * 0.02
    new = chosen["new_canvases_first_epoch"] * 0.1
    assert shown["measured"]["first_epoch_seconds"] == pytest.approx(seconds + new)
    assert shown["measured"]["first_epoch_new_canvas_seconds"] == pytest.approx(new)
    assert shown["notes"][-1] == "a note"
    assert figure.stat().st_size > 1000
    assert len(machine) == 1


def test_text_says_all_of_it(stripes: Path, tmp_path: Path, machine: list[LargestImage]) -> None:
    config = PlanConfig(data=stripes, max_canvases=2, batch_size=8, max_pixels="auto", output=tmp_path / "plan.png")
    lines = report_lines(report_plan(config), config)
    text = "\n".join(lines)
    titles = [line[:14].strip() for line in lines if line[:14].strip() and not line.startswith(" ")]
    assert titles[:5] == ["images", "sizes", "plan", "padding", "or squares"]
    assert titles[-6:] == ["largest", "measured", "memory", "predicted", "note", "figure"]
    assert "plan          4 steps of 8 images (mixed, 2 static canvases), laid on" in text
    head = "canvases  padding  own size  passes/step  new in epoch 1  later  epoch 1  later  30 epochs"
    assert head.split() in [line.split() for line in lines]
    assert sum("<- " in line for line in lines) in (1, 2)
    assert next(line.split()[0] for line in lines if "<- chosen" in line) == "2"
    assert "images that --max-pixels 6400 allows; batches are at most 8" in text
    assert "measured      resnet9 on cpu, training: 1.0 s a megapixel, 10 ms (as 10 kpx) a canvas, " in text
    assert "memory        1024 bytes a canvas pixel; 3.0 GiB available" in text
    assert "predicted     4 steps an epoch: " in text
    height, width = machine[0].canvas
    assert height % 8 == width % 8 == 0


def test_without_measurement_there_are_no_times(stripes: Path, tmp_path: Path, machine: list[LargestImage]) -> None:
    config = PlanConfig(data=stripes, measure=False, output=tmp_path / "plan.png")
    result = report_plan(config)
    assert machine == []
    assert result.measured is None
    assert {row.total_seconds for row in result.choices} == {None}
    assert not any(line.startswith(("measured", "predicted", "memory")) for line in report_lines(result, config))
    with pytest.raises(UsageError) as raised:
        report_plan(PlanConfig(data=stripes, measure=False, max_pixels="auto", output=tmp_path / "plan.png"))
    assert str(raised.value) == (
        "--max-pixels is auto, which is measured, and --no-measure forbids it\n"
        "hint: give a number, or leave out --no-measure"
    )


def test_augmented_sizes_are_those_of_training(stripes: Path, tmp_path: Path, machine: list[LargestImage]) -> None:
    native, augmented = (
        report_plan(PlanConfig(data=stripes, augment=augment, output=tmp_path / "plan.png"))
        for augment in (False, True)
    )
    assert native.heights[2] == 39 != augmented.heights[2] <= 49
    new = [result.choices[-1].new_canvases_later_epoch for result in (native, augmented)]
    assert new[0] < new[1]


def test_one_image_a_class_is_enough(tmp_path: Path, machine: list[LargestImage]) -> None:
    from toy import write_stripes

    data = write_stripes(tmp_path / "few", count=2)
    result = report_plan(PlanConfig(data=data, output=tmp_path / "plan.png"))
    assert result.num_train == 2
    assert sum(row.num_images for row in result.canvases) == 2


def test_the_machine_is_measured_with_the_network_of_the_options(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anysize.data import DataOptions, load_data
    from anysize.planning import machine as module

    def speed(model: object, **mode: object) -> StepCost:
        modes.append(mode)
        return COST

    def limit(model: object, largest: LargestImage, **mode: object) -> object:
        modes.append(mode)
        return type("Limit", (), {"use": USE, "available": 2**30, "max_pixels": 12_345})

    modes: list[dict[str, object]] = []
    monkeypatch.setattr(module, "measure_speed", speed)
    monkeypatch.setattr(module, "choose_limit", limit)
    table = load_data(stripes, DataOptions()).train
    largest = LargestImage("a.png", (40, 40))
    config = PlanConfig(model="fcn_small", max_pixels="auto", device="cpu", workers=1)
    found = measure_machine(config, table, 2, largest)
    assert (found.max_pixels, found.memory, found.available_bytes) == (12_345, USE, 2**30)
    assert measure_machine(PlanConfig(max_pixels=999), table, 2, largest).max_pixels == 999
    assert [mode["may_checkpoint"] for mode in modes if "may_checkpoint" in mode] == [True, False]
    assert modes[1]["loading_bytes"] == 4 * int(str(modes[1]["in_channels"]))
    with pytest.raises(UsageError) as raised:
        measure_machine(PlanConfig(model_kwargs=("width=-1",)), table, 2, largest)
    assert str(raised.value).startswith("resnet9 cannot be built with --model-kwargs width=-1: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_canvases": 0}, "--max-canvases is 0; it must be at least 1"),
        ({"own_share": 1.5}, "--own-share is 1.5; it must be a share of the images, from 0 to 1"),
        ({"pool": 0}, "--pool is 0; it must be at least 1"),
        ({"epochs": 0}, "--epochs is 0; it must be at least 1"),
        ({"output": Path("a.txt")}, "--output is a.txt; it must be a name that ends in .png, .pdf, .svg"),
        (
            {"model_kwargs": ("width",)},
            "--model-kwargs was given 'width'; name=value is required\nhint: for example width=64",
        ),
        (
            {"model_kwargs": ("width=[",)},
            "--model-kwargs was given 'width=['; '[' is not a YAML value\nhint: for example width=64",
        ),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        PlanConfig(**options)
    assert str(raised.value) == message


def test_an_image_that_no_pass_may_hold_is_named(stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        report_plan(PlanConfig(data=stripes, max_pixels=900, measure=False, output=tmp_path / "plan.png"))
    assert re.match(
        r"\d+ of \d+ images need more than --max-pixels 900; the largest, (across|down)/\d+\.png, takes a canvas of ",
        caught.value.message,
    )
    assert "--max-pixels auto" in (caught.value.hint or "")
