"""Weight decay is in units of its optimiser: each has its own by default, which is said, saved and resumed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from anysize.errors import UsageError
from anysize.models import create_model
from anysize.stepping.optimizers import create_optimizer, default_weight_decay, list_optimizers
from anysize.training import TrainConfig
from anysize.training.recipe import with_recipe
from anysize.training.run import train
from anysize.training.setup import set_up
from heard import Heard
from toy import QUIET, quick_segmenter, write_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", count=6, val=2)


SMALL: dict[str, Any] = {
    "model": "unet", "model_kwargs": ("encoder_width=0.125", "channels=[8,8,8,8,8]"), "recipe": "none",
    "crop_size": 32, "workers": 0, "device": "cpu",
}  # fmt: skip


def decays(optimizer: Any) -> set[float]:
    return {group["weight_decay"] for group in optimizer.param_groups}


def test_each_optimiser_has_its_own() -> None:
    found = {name: default_weight_decay(name) for name in list_optimizers()}
    decoupled = {"AdamW": 0.02, "SGD": 1e-4}
    assert found == {name: decoupled.get(name, 0.0) for name in found}
    assert default_weight_decay("adamw") == 0.02
    with pytest.raises(UsageError, match=r"^torch\.optim has no optimiser named 'adamm'"):
        default_weight_decay("adamm")


def test_none_is_the_optimiser_s_own() -> None:
    model = create_model("fcn_small", num_classes=2)
    assert decays(create_optimizer(model, name="sgd", weight_decay=None)) == {1e-4, 0.0}
    assert decays(create_optimizer(model, name="adamw", weight_decay=None)) == {0.02, 0.0}
    assert all("weight_decay" not in g for g in create_optimizer(model, name="rprop", weight_decay=None).param_groups)


@pytest.mark.parametrize(
    ("opt", "options", "rate", "decay"),
    [
        ("adamw", {}, 0.002, 0.02),
        ("sgd", {}, 0.05, 1e-4),
        ("adadelta", {}, 1.0, 0.0),
        ("rmsprop", {}, 0.01, 0.0),
        ("rmsprop", {"weight_decay": 0.5}, 0.01, 0.5),
        ("sgd", {"recipe": "voc"}, 0.007, 4e-5),
        ("adamw", {"recipe": "voc"}, 0.002, 0.02),
        ("adadelta", {"recipe": "small-data"}, 1.0, 0.0),
        ("SGD", {"recipe": "small-data"}, 0.05, 1e-4),
        ("sgd", {"recipe": "small-data", "weight_decay": 0.0, "lr": 0.1}, 0.1, 0.0),
    ],
)
def test_a_run_takes_it_and_says_so(shapes: Path, opt: str, options: dict[str, Any], rate: float, decay: float) -> None:
    heard = Heard()
    config = TrainConfig(data=shapes, opt=opt, **{**SMALL, **options})
    setup = set_up(config, heard)
    assert (setup.config.lr, setup.config.weight_decay) == (rate, decay)
    assert decays(setup.optimizer) == {decay, 0.0}
    assert heard.starting("optimiser") == [f"optimiser   {opt}: rate {rate:g}, weight decay {decay:g}"]


def test_a_recipe_leaves_both_to_another_optimiser_and_says_so(shapes: Path) -> None:
    heard = Heard()
    config = with_recipe(TrainConfig(data=shapes, opt="adadelta", recipe="voc"), "segment", heard)
    assert (config.opt, config.lr, config.weight_decay) == ("adadelta", None, None)
    assert "its rate, momentum and decay are for sgd, and not taken for adadelta" in heard.lines[0]
    heard = Heard()
    config = with_recipe(TrainConfig(data=shapes, opt="SGD", recipe="voc"), "segment", heard)
    assert (config.lr, config.weight_decay) == (0.007, 4e-5)
    assert "not taken" not in heard.lines[0]


def test_the_number_is_saved_and_resumed(shapes: Path, tmp_path: Path) -> None:
    run = train(quick_segmenter(shapes, tmp_path / "run", epochs=1, opt="sgd", preflight=False), console=QUIET).run
    assert yaml.safe_load((run / "config.yaml").read_text())["weight_decay"] == 1e-4
    result = train(TrainConfig(resume=run, epochs=2), console=QUIET)
    assert result.epochs == 2
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["weight_decay"], saved["epochs"]) == (1e-4, 2)


def test_a_negative_one_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(weight_decay=-0.1)
    assert caught.value.message == "--weight-decay is -0.1; it must be at least 0"
    assert TrainConfig().weight_decay is None
