"""What belongs to a way to see an image is taken there, and refused where it would do nothing."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anysize.cli import main
from anysize.cli.arguments import parse
from anysize.config_file import read_config, write_config
from anysize.data import Augmentation
from anysize.data.patches import PatchDataset, grid_boxes
from anysize.errors import UsageError
from anysize.training import TrainConfig
from anysize.training.run import train
from anysize.training.seeing import with_seeing
from anysize.training.setup import set_up
from heard import Heard, segmenter
from toy import QUIET, quick, quick_segmenter, write_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", count=6, val=2)


NOTHING = [
    (
        {"patches": "class"},
        "--patches is class, which is of --see patches alone, and --see is whole",
        "--see patches, or leave out --patches",
    ),
    (
        {"patch_size": 128, "see": "sampled"},
        "--patch-size is 128, which is of --see patches alone, and --see is sampled",
        "--see patches, or leave out --patch-size",
    ),
    (
        {"patch_size": 256},
        "--patch-size is 256, which is of --see patches alone, and --see is whole",
        "--see patches, or leave out --patch-size",
    ),
    (
        {"sample_share": 0.5},
        "--sample-share is 0.5, which is of --see sampled alone, and --see is whole",
        "--see sampled, or leave out --sample-share",
    ),
    (
        {"sample_by": "hardest", "see": "patches"},
        "--sample-by is hardest, which is of --see sampled alone, and --see is patches",
        "--see sampled, or leave out --sample-by",
    ),
    (
        {"patch_overlap": 8},
        "--patch-overlap is 8, which is of --see patches alone, and --see is whole",
        "--see patches --patches grid, or leave out --patch-overlap",
    ),
    (
        {"patch_overlap": 8, "see": "patches"},
        "--patch-overlap is 8, which is of --patches grid alone, and --patches is random",
        "--patches grid, or leave out --patch-overlap",
    ),
    (
        {"crop_size": 300, "see": "patches"},
        "--crop-size is 300, and --see patches cuts windows of 256 pixels (--patch-size) already",
        "--patch-size 300, or leave out --crop-size",
    ),
    (
        {"crop": 0.5, "see": "patches", "patch_size": 64},
        "--crop is 0.5, and --see patches cuts windows of 64 pixels (--patch-size) already",
        "leave out --crop",
    ),
]


@pytest.mark.parametrize(("options", "message", "hint"), NOTHING, ids=lambda value: str(value)[:40])
def test_an_option_that_would_do_nothing_is_refused(
    shapes: Path, options: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        segmenter(shapes, **options)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(("options", "message", "hint"), NOTHING, ids=lambda value: str(value)[:40])
def test_so_are_the_flags(options: dict[str, Any], message: str, hint: str) -> None:
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    config = parse("train", TrainConfig, "", ["x", *flags]).options
    with pytest.raises(UsageError) as caught:
        with_seeing(config, "segment", Heard())
    assert caught.value.message == message


@pytest.mark.parametrize("see", ["patches", "sampled"])
def test_images_of_one_class_each_have_one_way_to_be_seen(stripes: Path, see: str) -> None:
    with pytest.raises(UsageError) as caught:
        set_up(quick(stripes, None, see=see), Heard())
    assert caught.value.message == (
        f"--see is {see}, and {stripes} has one class for each image; it needs masks, one class for each pixel"
    )
    assert caught.value.hint == "leave out --see"
    with pytest.raises(UsageError) as caught:
        set_up(quick(stripes, None, patch_size=64), Heard())
    assert caught.value.message == (
        f"--patch-size is 64, which is of --see patches alone, and {stripes} has one class for each image"
    )
    assert caught.value.hint == "leave out --patch-size"


def test_what_a_recipe_sets_is_no_error(shapes: Path) -> None:
    """Windows of 513 pixels are the recipe's, and patches take their place: in the log and in config.yaml."""
    heard = Heard()
    config = TrainConfig(
        data=shapes, model="unet", model_kwargs=("encoder_width=0.125", "channels=[8,8,8,8,8]"),
        recipe="voc", see="patches", patch_size=32, workers=0, device="cpu",
    )  # fmt: skip
    setup = set_up(config, heard)
    assert (setup.config.crop_size, setup.config.crop) == (None, 1.0)
    assert heard.starting("recipe voc")[0].endswith("; patches take the place of its windows (--see patches)")
    assert isinstance(setup.train, PatchDataset)
    assert setup.train.augmentation.crop_size == 32


def test_the_options_of_a_run_can_be_read_again(shapes: Path, tmp_path: Path) -> None:
    """config.yaml names every option; what was not given is not held against whoever reads it."""
    for options in ({}, {"see": "sampled", "sample_share": 0.5}, {"see": "patches", "patch_size": 32}):
        setup, _ = segmenter(shapes, **options)
        file = tmp_path / "config.yaml"
        write_config(file, setup.config)
        for changes in (["--epochs", "9"], ["--see", "whole"], ["--see", "patches"], ["--see", "sampled"]):
            config = parse("train", TrainConfig, "", ["--config", str(file), *changes]).options
            with_seeing(config, "segment", Heard())
        config = parse("train", TrainConfig, "", ["--config", str(file)]).options
        assert with_seeing(config, "segment", Heard()) == config


def test_a_file_that_sets_what_does_nothing(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("patch_size: 64\n")
    with pytest.raises(UsageError, match=r"^--patch-size is 64, which is of --see patches alone, and --see is whole"):
        with_seeing(parse("train", TrainConfig, "", ["--config", str(file)]).options, "segment", Heard())
    file.write_text("see: patches\npatch_size: 64\n")
    heard = Heard()
    config = parse("train", TrainConfig, "", ["--config", str(file), "--see", "whole"]).options
    assert with_seeing(config, "segment", heard).patch_size == 256
    assert heard.lines == ["note: patch_size 64 of the config file is left aside: it is of --see patches alone"]


def test_a_run_of_old_goes_on(tmp_path: Path) -> None:
    """Its file holds a size of windows that patches had taken the place of all along."""
    (tmp_path / "config.yaml").write_text("see: patches\npatch_size: 64\ncrop_size: 512\ncrop: 0.8\n")
    heard = Heard()
    config = parse("train", TrainConfig, "", ["--resume", str(tmp_path)]).options
    config = with_seeing(config, "segment", heard)
    assert (config.see, config.patch_size, config.crop_size, config.crop) == ("patches", 64, None, 1.0)
    assert not heard.lines


@pytest.mark.parametrize(
    ("options", "overlap"),
    [({}, 64), ({"patch_size": 24}, 6), ({"patch_size": 3}, 0), ({"patch_size": 24, "patch_overlap": 20}, 20),
     ({"patch_size": 24, "patch_overlap": 0}, 0)],
    ids=str,
)  # fmt: skip
def test_a_grid_overlaps(shapes: Path, options: dict[str, Any], overlap: int) -> None:
    setup, heard = segmenter(shapes, see="patches", patches="grid", **options)
    samples = setup.train
    assert isinstance(samples, PatchDataset)
    assert (samples.overlap, setup.config.patch_overlap) == (overlap, overlap)
    (said,) = heard.starting("note: a grid of patches")
    assert f"{overlap} pixels or more shared by neighbours" in said
    side = setup.config.patch_size
    numbers = [samples.image_of(index) for index in range(len(samples))]
    sizes = samples.dataset.table.sizes
    expected = [grid_boxes((height, width), side, overlap) for height, width in sizes.tolist()]
    assert np.bincount(numbers).tolist() == [len(boxes) for boxes in expected]
    plain = samples.dataset
    plain.augmentation, samples.augmentation = None, Augmentation.none()
    for number, boxes in enumerate(expected):
        image = plain.load(number)
        seen = np.zeros(image.shape[:2], int)
        indices = [index for index in range(len(samples)) if numbers[index] == number]
        for index, (top, left, height, width) in zip(indices, boxes.tolist(), strict=True):
            assert np.array_equal(samples.load(index), image[top : top + height, left : left + width])
            seen[top : top + height, left : left + width] += 1
        assert seen.min() >= 1
        starts = np.unique(boxes[:, 0])
        assert (np.diff(starts) <= side - overlap).all()
        if overlap and len(boxes) > 1:
            assert seen.max() > 1


@pytest.mark.parametrize(("overlap", "size"), [(-1, 64), (64, 64), (300, 256)])
def test_an_overlap_out_of_range_is_refused(overlap: int, size: int) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(see="patches", patches="grid", patch_size=size, patch_overlap=overlap)
    assert caught.value.message == (
        f"--patch-overlap is {overlap}; it must be at least 0 and less than --patch-size {size}"
    )


def test_the_hardest_of_the_hardest_are_refused(shapes: Path) -> None:
    with pytest.raises(UsageError) as caught:
        segmenter(shapes, loss="ohem", see="sampled", sample_by="hardest")
    assert caught.value.message == (
        "the hardest pixels are chosen for ohem, which takes the hardest of them itself: a share of a share would count"
    )
    assert caught.value.hint == "--loss ce with --sample-by hardest, or --loss ohem with --see whole"
    setup, _ = segmenter(shapes, loss="ohem", see="sampled", sample_by="random")
    assert setup.criterion.hardest_share == 1


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_class_weights_are_refused_wherever_predictions_choose(shapes: Path, loss: str) -> None:
    """For the same reason, in the same words, as those of ohem."""
    reason = "the predictions would decide what its sum is divided by"
    with pytest.raises(UsageError, match=f"ohem of the loss 'ohem' cannot have them: {re.escape(reason)}"):
        segmenter(shapes, loss="ohem", class_weights=("balanced",))
    hardest = {"see": "sampled", "sample_by": "hardest"}
    with pytest.raises(UsageError) as caught:
        segmenter(shapes, loss=loss, class_weights=("balanced",), **hardest)
    assert caught.value.message == (
        f"class weights were given, and {loss} of the hardest pixels cannot have them: {reason}"
    )
    assert caught.value.hint == "leave out --class-weights, or --sample-by random"
    segmenter(shapes, loss=loss, **hardest)
    segmenter(shapes, loss=loss, class_weights=("balanced",), see="sampled")


def test_python_s_replace_is_no_gift(shapes: Path) -> None:
    """It passes every option on, and none of them was given for that."""
    config = dataclasses.replace(quick_segmenter(shapes, None), epochs=3)
    assert config.given >= {"patch_size", "sample_by"}
    assert with_seeing(config, "segment", Heard()) == config
    patches = with_seeing(dataclasses.replace(config, see="patches", patch_size=24), "segment", Heard())
    assert (patches.crop, patches.patch_size) == (1.0, 24)
    with pytest.raises(UsageError, match=r"^--sample-share is 0\.5, which is of --see sampled alone, and --see is pat"):
        with_seeing(dataclasses.replace(config, see="patches", sample_share=0.5), "segment", Heard())


def test_a_run_on_patches_goes_on(shapes: Path, tmp_path: Path) -> None:
    """With the options that it was begun with, with its own, and from the command line."""
    options = {"see": "patches", "patches": "grid", "patch_size": 32, "preflight": False, "batch_norm": "group"}
    config = quick_segmenter(shapes, tmp_path / "run", epochs=1, **options)
    run = train(config, console=QUIET).run
    train(dataclasses.replace(config, output=None, resume=run, epochs=2), console=QUIET)
    train(TrainConfig(resume=run, epochs=3), console=QUIET)
    assert main(["train", "--resume", str(run), "--epochs", "4"]) == 0
    saved = read_config(TrainConfig, run / "config.yaml")
    assert (saved.epochs, saved.see, saved.patch_size, saved.patch_overlap, saved.crop) == (4, "patches", 32, 8, 1.0)
