"""Progressive resizing: a run whose first epochs have smaller images."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from test_resume import same_results, stop_after

import anysize.training.run as run_module
from anysize.config_file import read_config
from anysize.data import ImageDataset
from anysize.errors import AnysizeError, UsageError
from anysize.loading import EpochPlanner
from anysize.stepping.batch_norm import frozen_layers
from anysize.training import TrainConfig
from anysize.training.normalising import Normalising
from anysize.training.preflight import _pixels
from anysize.training.progress import RunProgress
from anysize.training.run import train
from anysize.training.setup import Setup, set_up
from heard import Heard, segmenter
from toy import QUIET, quick, quick_segmenter, table_of, write_shapes, write_stripes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", count=18, val=4, sides=(40, 90))


def test_a_run_grows_its_images(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through the network: small images first, more a step, then full ones; a resumed run is the same."""
    seen: list[tuple[int, int]] = []
    step = run_module.train_step

    def watched(model: Any, optimizer: Any, batches: Any, *rest: Any, **options: Any) -> Any:
        raws = list(batches)
        sizes = [size for raw in raws for size in raw.sizes]
        seen.append((len(sizes), max(max(size) for size in sizes)))
        return step(model, optimizer, raws, *rest, **options)

    config = quick_segmenter(shapes, tmp_path / "whole", start_side=32, epochs=5, batch_size=2, crop=1.0)
    heard = Heard()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train_step", watched)
        whole = train(config, console=heard)
    assert read_config(TrainConfig, whole.run / "config.yaml").start_epochs == 4
    assert heard.starting("image sizes epochs 1 to 4")
    (told,) = heard.starting("image sizes")
    num = int(told.split(" images a step")[0].split()[-1])
    assert told == (
        f"image sizes epochs 1 to 4: longer side at most 32 pixels, {num} images a step; then as they are, 2 a step"
    )
    assert num == 3  # and no more, so that an epoch of 14 has four updates
    small = [count for count, longest in seen if longest <= 32]
    full = [count for count, longest in seen if longest > 32]
    assert sum(small) == 4 * 14
    assert sum(full) == 14
    assert max(small) == num
    assert max(full) == 2
    assert seen[-1][1] > 32

    with monkeypatch.context() as patch:
        stop_after(patch, len(small) + 1)  # within the epoch at full size
        stopped = train(dataclasses.replace(config, output=tmp_path / "parts"), console=QUIET)
    assert (stopped.ended, stopped.epochs) == ("interrupted", 4)
    same_results(train(TrainConfig(resume=stopped.run), console=QUIET).run, whole.run)
    # More epochs than were planned: images have grown, and stay so.
    longer = train(TrainConfig(resume=stopped.run, epochs=6), console=QUIET)
    assert read_config(TrainConfig, longer.run / "config.yaml").start_epochs == 4
    with pytest.raises(UsageError, match="epochs that are done would have had images of other sizes"):
        train(TrainConfig(resume=stopped.run, epochs=9, start_side=32, start_epochs=7), console=QUIET)
    with pytest.raises(UsageError, match="epochs that are done would have had images of other sizes"):
        train(TrainConfig(resume=stopped.run, epochs=9, start_side=24), console=QUIET)


@pytest.mark.parametrize("limits", [{}, {"max_side": 60}, {"crop_size": 40}])
def test_three_quarters_of_the_pixels_are_of_small_images(shapes: Path, limits: dict[str, int]) -> None:
    """By default, but for the rounding to epochs; and at least one epoch has either size."""
    options: dict[str, Any] = {"crop": 1.0, "start_side": 24, **limits}
    setup = segmenter(shapes, epochs=100, **options)[0]
    start = setup.config.start
    assert start is not None
    small, full = (float(setup.train.sizes(epoch).prod(axis=1).sum()) for epoch in (0, 99))
    shares = {epochs: epochs * small / (epochs * small + (100 - epochs) * full) for epochs in range(1, 100)}
    assert abs(start.epochs - min(shares, key=lambda epochs: abs(shares[epochs] - 0.75))) <= 1
    assert segmenter(shapes, epochs=2, **options)[0].config.start_epochs == 1


def test_nobody_gives_up_before_full_size(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no epoch is better than the first, patience counts from full size on."""
    monkeypatch.setattr(RunProgress, "_merit", lambda _, row: (-row["epoch"], 0.0))
    ends = []
    for extra in ({}, {"start_side": 32, "start_epochs": 4}):
        output = tmp_path / str(len(ends))
        ends.append(train(quick_segmenter(shapes, output, patience=1, epochs=8, **extra), console=QUIET))
    assert [(end.ended, end.epochs) for end in ends] == [("stopped early", 2), ("stopped early", 5)]


def test_statistics_stand_still_where_full_size_has_too_few_images(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches at first; before full size they are estimated over such images, and from then on never move."""
    config = quick_segmenter(
        shapes, tmp_path / "whole", start_side=16, start_epochs=3, epochs=5, batch_norm="auto", batch_size=1
    )
    heard = Heard()
    assert set_up(config, heard).config.batch_norm == "frozen"
    first, second = heard.starting("batch norm")
    assert first.startswith("batch norm  frozen: from epoch 4 on, as at full size it would be statistics of 1 image")
    assert second == (
        "batch norm  in epochs 1 to 3 of the batch, estimated anew before each evaluation; then frozen at what they "
        "are over images at full size"
    )

    statistics: list[dict[str, bytes]] = []
    steps: list[int] = []
    save, step = run_module.save_checkpoint, run_module.train_step

    def saved(path: Path, model: Any, optimizer: Any, progress: dict[str, Any]) -> None:
        state = model.state_dict()
        statistics.append({name: state[name].numpy().tobytes() for name in state if "running_" in name})
        assert bool(progress["frozen"]) == (progress["epoch"] > 3)
        save(path, model, optimizer, progress)

    def counted(*arguments: Any, **options: Any) -> Any:
        steps.append(len(statistics))
        return step(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", saved)
        patch.setattr(run_module, "train_step", counted)
        whole = train(config, console=QUIET)
    at_first, before, full, *later = statistics
    assert at_first != before != full
    assert later == [full, full]
    with monkeypatch.context() as patch:
        patch.setattr(Normalising, "before_evaluation", lambda *_: None)
        moving = train(dataclasses.replace(config, output=tmp_path / "moving"), console=QUIET)
    found = load_file(moving.run / "weights" / "last.safetensors")
    assert any(found[name].numpy().tobytes() != full[name] for name in full)  # they are not the moving averages

    for epoch in (2, 3, 4):  # stopped within the last epoch of the start, and within those at full size
        run = tmp_path / f"parts-{epoch}"
        with monkeypatch.context() as patch:
            stop_after(patch, steps.index(epoch) + 1)
            assert train(dataclasses.replace(config, output=run), console=QUIET).epochs == epoch
        same_results(train(TrainConfig(resume=run), console=QUIET).run, whole.run)


def test_statistics_that_are_to_be_frozen_from_now_on_are_found_first(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for when a run is resumed within its start: at its end, over images at full size, as in a new run."""
    options: dict[str, Any] = {"start_side": 16, "start_epochs": 3, "epochs": 4}
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        run = train(quick_segmenter(shapes, tmp_path / "run", **options), console=QUIET).run
    stages = []
    begin = Normalising.begin_epoch

    def watched(self: Normalising) -> None:
        begin(self)
        stages.append((self._progress.stage, bool(frozen_layers(self._model))))

    monkeypatch.setattr(Normalising, "begin_epoch", watched)
    train(TrainConfig(resume=run, batch_norm="frozen"), console=QUIET)
    assert stages == [("start", False), ("start", False), ("all", True)]


def test_rates_go_by_pixels(shapes: Path, tmp_path: Path) -> None:
    """A quarter of the pixels is still to come when images are at full size, and a quarter of the schedule."""
    options: dict[str, Any] = {"start_side": 24, "epochs": 8, "sched": "poly", "crop": 1.0, "warmup_epochs": 0.0}
    result = train(quick_segmenter(shapes, tmp_path / "run", lr=0.01, **options), console=QUIET)
    start = read_config(TrainConfig, result.run / "config.yaml").start
    assert start is not None
    setup = segmenter(shapes, **options)[0]
    small, full = (float(setup.train.sizes(epoch).prod(axis=1).sum()) for epoch in (0, start.epochs))
    total = start.epochs * small + (8 - start.epochs) * full
    rates = [float(row["lr"]) for row in table_of(result.run)]
    for epoch in range(8):
        # The last step of the epoch; one of n is a step before its end.
        steps = 14 // 4 + 1 if epoch >= start.epochs else -(-14 // EpochPlanner(
            setup.train.sizes, setup.config, seed=0, start=start
        ).batch_size(0))  # fmt: skip
        seen = min(epoch, start.epochs) * small + max(epoch - start.epochs, 0) * full
        seen += (small if epoch < start.epochs else full) * (steps - 1) / steps
        assert rates[epoch] == pytest.approx(0.01 * (1 - seen / total) ** 0.9, rel=1e-6)


def test_full_size_is_whole_images_rather_than_a_recipe_s_windows(shapes: Path) -> None:
    setup, heard = segmenter(shapes, recipe="small-data", start_side=32, epochs=4)
    assert setup.config.crop_size is None
    (told,) = heard.starting("recipe small-data")
    assert "; whole images take the place of its windows (--start-side); your own stay: " in told
    assert segmenter(shapes, recipe="small-data", start_side=32, epochs=4, crop_size=64)[0].config.crop_size == 64
    assert segmenter(shapes, recipe="small-data", epochs=4)[0].config.crop_size == 512


def test_an_epoch_of_few_images_has_four_updates(shapes: Path) -> None:
    setup = segmenter(shapes, start_side=8, epochs=4, batch_size=2)[0]
    planner = EpochPlanner(setup.train.sizes, setup.config, seed=0, start=setup.config.start)
    assert planner.pixel_ratio > 20
    assert [planner.batch_size(epoch) for epoch in (0, 3)] == [14 // 4, 2]


def test_statistics_are_decided_by_full_size(shapes: Path) -> None:
    options: dict[str, Any] = {"batch_norm": "auto", "epochs": 5}
    enough = segmenter(shapes, **options, batch_size=14, start_side=32)[0]
    assert enough.config.batch_norm == "train"
    plain, grown = (segmenter(shapes, **options, batch_size=2, **extra)[0] for extra in ({}, {"start_side": 16}))
    assert (plain.config.batch_norm, grown.config.batch_norm) == ("group", "recalibrate")  # two of unequal sizes
    few = segmenter(shapes, **options, batch_size=1, start_side=88)[1]  # no more images a step at first
    assert few.starting("batch norm  group: statistics of 1 image")


def test_pixels_of_a_run_are_those_of_its_epochs(shapes: Path) -> None:
    setup: Setup = segmenter(shapes, start_side=32, epochs=6, start_epochs=2, crop=1.0)[0]
    assert isinstance(setup.train, ImageDataset)
    assert _pixels(setup) == sum(int(setup.train.sizes(epoch).prod(axis=1).sum()) for epoch in range(6))


def test_a_classifier_grows_too(stripes: Path, tmp_path: Path) -> None:
    result = train(quick(stripes, tmp_path / "run", start_side=16, epochs=4), console=QUIET)
    assert (result.ended, result.epochs) == ("finished", 4)


def test_images_that_are_all_small_are_told(shapes: Path) -> None:
    (told,) = segmenter(shapes, start_side=200)[1].starting("note: --start-side")
    assert told == "note: --start-side 200 changes nothing: no training image gets a longer side above that"
    enlarged = segmenter(shapes, start_side=100, scale=(1.5, 1.5), epochs=4)[1]
    assert enlarged.starting("image sizes epochs 1 to 3: longer side at most 100 pixels")
    assert not segmenter(shapes)[1].starting("image sizes")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"start_epochs": 3},
            "--start-epochs is 3, and there is no smaller side to start with\nhint: --start-side 512",
        ),
        ({"start_side": 0}, "--start-side is 0; it must be at least 1"),
        ({"start_side": 64, "max_side": 64}, "--start-side is 64; it must be below --max-side 64"),
        ({"start_side": 32, "start_epochs": 6}, "--start-epochs is 6; it must be at least 1 and below --epochs 6: "),
        ({"start_side": 32, "start_epochs": 0}, "--start-epochs is 0; it must be at least 1 and below --epochs 6"),
        ({"start_side": 32, "epochs": 1}, "--epochs is 1; it must be 2 or more with --start-side"),
        ({"start_side": 32, "see": "patches"}, "--start-side is 32, and --see patches sees windows of 256 pixels"),
    ],
)
def test_what_does_not_go_together_is_refused(shapes: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(AnysizeError) as caught:
        segmenter(shapes, **options)
    assert said in str(caught.value)


def test_the_least_start_side_that_is_named_is_enough(tmp_path: Path) -> None:
    """For the most oblong image too."""
    data = write_stripes(tmp_path, sides=(14, 60))

    def start(side: int) -> None:
        set_up(quick(data, None, model="fcn_small", start_side=side), QUIET)

    with pytest.raises(AnysizeError, match=r"--start-side 6 makes .* of .*, and fcn_small needs at least 4") as caught:
        start(6)
    assert caught.value.hint is not None
    least = int(caught.value.hint.split()[1])
    start(least)
    with pytest.raises(AnysizeError, match="and fcn_small needs at least 4 pixels a side"):
        start(least - 1)
