"""Runs of a segmenter, from files to weights: what they learn, keep, freeze and go on from."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import anysize.training.run as run_module
from anysize.data.masks import IGNORED
from anysize.data.patches import PatchDataset
from anysize.errors import TrainingError, UsageError
from anysize.models import create_model, load_model, save_weights
from anysize.stepping.batch_norm import batch_norms
from anysize.training.run import train
from anysize.training.setup import Setup, set_up
from toy import QUIET, SHAPES, quick_segmenter, table_of, write_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc")


@pytest.fixture(scope="module")
def learned(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYSIZE_CACHE", str(tmp_path_factory.mktemp("cache")))
        output = tmp_path_factory.mktemp("runs") / "whole"
        return train(quick_segmenter(shapes, output, epochs=12), console=QUIET).run


def statistics(path: Path) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in load_file(path).items() if "running_" in name or "num_batches" in name}


def test_it_learns_the_shapes(learned: Path) -> None:
    rows = table_of(learned)
    assert float(rows[-1]["train_loss"]) < 0.4 * float(rows[0]["train_loss"])
    assert max(float(row["val_mean_iou"]) for row in rows) > 0.6  # a third by a constant answer: 0.22


def test_the_run_folder_shows_what_was_learned(learned: Path) -> None:
    found = {str(path.relative_to(learned)) for path in learned.rglob("*") if path.is_file()}
    assert {f"previews/epoch_{number:03d}.png" for number in range(1, 13)} <= found
    assert {"previews/epochs.gif", "plots/curves.png", "plots/iou.png", "plots/confusion.png"} <= found
    with Image.open(learned / "previews" / "epochs.gif") as animation:
        assert animation.n_frames == 12
    card = json.loads((learned / "weights" / "best.json").read_text())
    assert card["classes"] == list(SHAPES)
    assert len(card["palette"]) == len(SHAPES)
    assert card["results"]["val_mean_iou"] == max(float(row["val_mean_iou"]) for row in table_of(learned))


def test_metrics_are_those_of_one_image_at_a_time(learned: Path, shapes: Path) -> None:
    """An independent evaluation: plain tensors, one image, a loop over classes."""
    model, card = load_model(learned / "weights" / "last.safetensors")
    names = (shapes / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    hits, union = np.zeros(3), np.zeros(3)
    for name in names:
        pixels = torch.from_numpy(np.array(Image.open(shapes / "JPEGImages" / f"{name}.png"))).permute(2, 0, 1).float()
        mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in (card.mean, card.std))
        with torch.no_grad():
            prediction = model(((pixels - mean) / std)[None])[0].argmax(0).numpy()
        truth = np.array(Image.open(shapes / "SegmentationClass" / f"{name}.png"))
        for label in range(3):
            is_truth, is_said = (truth == label), (prediction == label) & (truth != 255)
            hits[label] += (is_truth & is_said).sum()
            union[label] += (is_truth | is_said).sum()
    assert float(table_of(learned)[-1]["val_mean_iou"]) == pytest.approx(float((hits / union).mean()), abs=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"see": "patches", "patch_size": 24},
        {"see": "patches", "patch_size": 24, "patches": "class"},
        {"see": "patches", "patch_size": 24, "patches": "grid"},
        {"see": "sampled", "sample_share": 0.2},
        {"see": "sampled", "sample_share": 0.2, "sample_by": "hardest"},
        {"loss": "ce+dice", "max_pixels": 8_000},
        {"loss": "0.5*focal+lovasz", "loss_kwargs": ("focal.gamma=1",), "class_weights": ("balanced",)},
        {"rotate": 20.0, "crop_size": 32, "scale": (0.5, 2.0), "aspect": (0.8, 1.25), "hue": 10.0},
        {"batch_norm": "group"},
        {"batch_norm": "recalibrate"},
        {"opt": "adadelta", "lr": None},
    ],
    ids=str,
)
def test_each_way_trains_and_evaluates(
    changes: dict[str, Any], shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Setup] = []
    monkeypatch.setattr(run_module, "set_up", lambda *arguments: made.append(set_up(*arguments)) or made[-1])
    result = train(quick_segmenter(shapes, tmp_path / "run", epochs=2, **changes), console=QUIET)
    rows = table_of(result.run)
    assert len(rows) == 2
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert 0 < float(rows[1]["val_mean_iou"]) <= 1
    model, card = load_model(result.run / "weights" / "best.safetensors")  # it can be rebuilt
    assert card.norm == ("group" if changes.get("batch_norm") == "group" else "batch")
    assert any(isinstance(module, nn.GroupNorm) for module in model.modules()) == (card.norm == "group")
    (setup,) = made
    _is_seen_as_asked(setup, changes)


def _is_seen_as_asked(setup: Setup, changes: dict[str, Any]) -> None:
    """What goes through the network, and what of it counts."""
    see, samples = changes.get("see", "whole"), setup.train
    is_hardest = changes.get("sample_by") == "hardest"
    share = changes["sample_share"] if see == "sampled" else 1.0
    assert setup.criterion.hardest_share == (share if is_hardest else 1.0)
    assert isinstance(samples, PatchDataset) == (see == "patches")
    if isinstance(samples, PatchDataset):
        side, by = changes["patch_size"], changes.get("patches", "random")
        assert (samples.size, samples.by, samples.overlap) == (side, by, side // 4 if by == "grid" else 0)
        assert samples.sizes(1).max() == side
        assert samples.dataset.sample_share == 1.0
        return
    assert samples.sample_share == (1.0 if is_hardest else share)
    counted = np.array([(samples.load_mask(index) != IGNORED).mean() for index in range(len(samples))])
    assert (counted <= samples.sample_share + 0.05).all()
    assert (counted >= 0.7 * samples.sample_share).all()  # discs have a border without a label


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """An encoder whose statistics are not those of a new layer."""
    torch.manual_seed(3)
    model = create_model("unet", num_classes=5, encoder_width=0.25, channels=[16, 16, 8, 8, 8])
    with torch.no_grad():
        for _, layer in batch_norms(model.encoder):  # type: ignore[arg-type]
            layer.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    save_weights(model, tmp_path / "pretrained.safetensors")
    return tmp_path / "pretrained.safetensors"


def test_frozen_statistics_are_bit_identical_through_epochs_checkpoints_and_resuming(
    shapes: Path, pretrained: Path, tmp_path: Path
) -> None:
    options = {"batch_norm": "frozen", "pretrained": str(pretrained), "mean": (127.5,) * 3, "std": (127.5,) * 3}
    run = train(quick_segmenter(shapes, tmp_path / "run", epochs=1, **options), console=QUIET).run
    before = {n: t for n, t in statistics(pretrained).items() if n.startswith("encoder.")}
    assert before
    train(quick_segmenter(shapes, None, resume=run, epochs=3, **options), console=QUIET)
    after = statistics(run / "weights" / "last.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    new = statistics(pretrained).keys() - before.keys()  # the decoder had none: its own move
    assert any(not torch.equal(after[name], statistics(pretrained)[name]) for name in new)
    weights = load_file(run / "weights" / "last.safetensors")
    begun = load_file(pretrained)
    assert not torch.equal(weights["encoder.conv1.weight"], begun["encoder.conv1.weight"])  # the rest is trained


def test_the_head_stage_moves_the_head_alone(shapes: Path, pretrained: Path, tmp_path: Path) -> None:
    options = {"batch_norm": "train", "pretrained": str(pretrained), "head_epochs": 1, "backbone_lr": 0.1}
    run = train(quick_segmenter(shapes, tmp_path / "run", epochs=1, **options), console=QUIET).run
    first, begun = load_file(run / "weights" / "last.safetensors"), load_file(pretrained)
    encoder = [name for name in begun if name.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(first[name], begun[name]) for name in encoder)
    assert any(not torch.equal(first[name], begun[name]) for name in begun if name.startswith("decoder."))
    train(quick_segmenter(shapes, None, resume=run, epochs=2, **options), console=QUIET)
    second = load_file(run / "weights" / "last.safetensors")
    assert all(not torch.equal(second[name], begun[name]) for name in encoder if name.endswith("conv1.weight"))


def test_frozen_statistics_that_moved_behind_the_run_s_back_are_noticed(
    shapes: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = run_module.train_step

    def meddling(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        model.encoder.bn1.running_mean.add_(1e-7)  # type: ignore[union-attr, operator]
        return step(model, *arguments, **options)

    monkeypatch.setattr(run_module, "train_step", meddling)
    config = quick_segmenter(shapes, tmp_path / "run", batch_norm="frozen", pretrained=str(pretrained))
    with pytest.raises(TrainingError, match=r"batch normalisation encoder\.bn1 is frozen, and its running_mean moved"):
        train(config, console=QUIET)


def test_resuming_gives_the_same_run(shapes: Path, tmp_path: Path) -> None:
    options = {"loss": "ce+dice", "see": "sampled", "rotate": 10.0, "sched": "constant", "warmup_epochs": 0.0}
    whole = train(quick_segmenter(shapes, tmp_path / "whole", epochs=3, **options), console=QUIET).run
    part = train(quick_segmenter(shapes, tmp_path / "part", epochs=1, **options), console=QUIET).run
    train(quick_segmenter(shapes, None, resume=part, epochs=3, **options), console=QUIET)
    rows = [[{k: v for k, v in row.items() if k != "lr"} for row in table_of(run)] for run in (whole, part)]
    assert rows[0][1:] == rows[1][1:]


def test_one_image_a_step_with_an_image_level_branch_does_not_crash(shapes: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "model": "deeplabv3plus",
        "model_kwargs": ("encoder=resnet18", "encoder_width=0.125", "channels=16"),
        "batch_size": 1,
        "epochs": 1,
        "batch_norm": "train",
    }
    run = train(quick_segmenter(shapes, tmp_path / "run", **options), console=QUIET).run
    state = statistics(run / "weights" / "last.safetensors")
    pooled = [
        name for name in state if name.startswith("decoder.aspp.0.convs.4") and name.endswith("num_batches_tracked")
    ]
    assert pooled
    assert all(int(state[name]) == 0 for name in pooled)  # the one layer without a variance did not move
    assert int(state["encoder.bn1.num_batches_tracked"]) == 8


def test_a_classifier_is_refused_for_masks(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        train(quick_segmenter(shapes, tmp_path / "run", model="resnet9", model_kwargs=()), console=QUIET)
    assert caught.value.message == (
        "resnet9 has one answer for a whole image; these data have masks, one class for each pixel"
    )


def test_a_recipe_sets_what_was_not_given(shapes: Path, tmp_path: Path) -> None:
    import yaml

    from anysize.training import TrainConfig

    small = ("encoder_width=0.125", "channels=[8,8,8,8,8]")
    config = TrainConfig(
        data=shapes, output=tmp_path / "run", model="unet", model_kwargs=small,
        recipe="voc", epochs=1, crop_size=32, batch_size=4, workers=0, device="cpu", tensorboard=False,
    )  # fmt: skip
    run = train(config, console=QUIET).run
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["opt"], saved["lr"], saved["sched"], saved["weight_decay"]) == ("sgd", 0.007, "poly", 4e-5)
    assert (saved["crop_size"], saved["batch_size"], saved["epochs"]) == (32, 4, 1)
    with (run / "metrics.csv").open(newline="") as file:
        assert float(next(iter(csv.DictReader(file)))["train_loss"]) > 0


def test_weights_of_group_normalisation_start_a_run(shapes: Path, tmp_path: Path) -> None:
    first = train(quick_segmenter(shapes, tmp_path / "a", epochs=1, batch_norm="group"), console=QUIET).run
    weights = str(first / "weights" / "last.safetensors")
    config = quick_segmenter(
        shapes, tmp_path / "b", epochs=1, batch_norm="auto", pretrained=weights, pretrained_head="load"
    )
    second = train(config, console=QUIET).run
    assert load_model(second / "weights" / "last.safetensors")[1].norm == "group"
    with pytest.raises(UsageError) as caught:
        train(quick_segmenter(shapes, tmp_path / "c", pretrained=weights, batch_norm="frozen"), console=QUIET)
    assert caught.value.message == (
        f"--batch-norm is frozen, and {weights} is of a network with group normalisation, which has no statistics of "
        "the batch"
    )


def test_freezing_on_resuming_freezes_what_the_run_has_trained(shapes: Path, tmp_path: Path) -> None:
    run = train(quick_segmenter(shapes, tmp_path / "run", epochs=1), console=QUIET).run
    before = statistics(run / "weights" / "last.safetensors")
    train(quick_segmenter(shapes, None, resume=run, epochs=2, batch_norm="frozen"), console=QUIET)
    after = statistics(run / "weights" / "last.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    with pytest.raises(UsageError, match=rf"^--batch-norm is group; {run} began with frozen, and GroupNorm makes "):
        train(quick_segmenter(shapes, None, resume=run, epochs=3, batch_norm="group"), console=QUIET)


def test_nothing_random_is_held_still(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        train(quick_segmenter(shapes, tmp_path / "run", recipe="finetune"), console=QUIET)
    assert caught.value.message == (
        "--head-epochs 3 holds the pretrained part still, and nothing is pretrained: a random one would stand still"
    )
    assert caught.value.hint == "--pretrained WEIGHTS, or --head-epochs 0 --recipe small-data"


def test_another_optimiser_has_a_rate_of_its_own(shapes: Path) -> None:
    from anysize.training import TrainConfig
    from anysize.training.recipe import with_recipe

    config = with_recipe(TrainConfig(data=shapes, opt="adadelta", recipe="voc"), "segment", QUIET)
    assert (config.opt, config.lr, config.weight_decay) == ("adadelta", None, None)
    assert (config.sched, config.crop_size) == ("poly", 513)
    config = with_recipe(TrainConfig(data=shapes, lr=0.3, recipe="voc"), "segment", QUIET)
    assert (config.opt, config.lr, config.weight_decay) == ("sgd", 0.3, 4e-5)
