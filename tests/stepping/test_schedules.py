"""Learning rates, exactly; and what is decayed."""

import pytest
import torch

from anysize.models import create_model
from anysize.stepping.optimizers import create_optimizer, default_lr, set_lr
from anysize.stepping.schedules import Plateau, scheduled_lr


def rates(epochs_done: list[float], **options: object) -> list[float]:
    sched = str(options.pop("sched"))
    return [scheduled_lr(sched, peak=0.4, epochs=10, epochs_done=done, **options) for done in epochs_done]  # type: ignore[arg-type]


def test_cosine_falls_from_the_peak_to_zero() -> None:
    found = rates([0, 2.5, 5, 7.5, 10], sched="cosine", warmup_epochs=0.0)
    assert found == pytest.approx([0.4, 0.4 * (0.5 + 2**0.5 / 4), 0.2, 0.4 * (0.5 - 2**0.5 / 4), 0.0])


def test_cosine_begins_behind_the_warm_up() -> None:
    assert rates([2, 6, 10], sched="cosine", warmup_epochs=2.0) == pytest.approx([0.4, 0.2, 0.0])


def test_poly_is_a_power_of_what_is_left() -> None:
    found = rates([0, 5, 9, 10], sched="poly", warmup_epochs=0.0)
    assert found == pytest.approx([0.4, 0.4 * 0.5**0.9, 0.4 * 0.1**0.9, 0.0])


@pytest.mark.parametrize("sched", ["cosine", "poly", "plateau", "constant"])
def test_the_warm_up_is_a_straight_line_that_begins_above_zero(sched: str) -> None:
    found = rates([0, 0.5, 1, 1.999999, 2], sched=sched, warmup_epochs=2.0)
    assert found == pytest.approx([0.4 * 0.001 / 2, 0.1, 0.2, 0.4, 0.4], rel=1e-5)
    assert found[0] > 0


def test_a_warm_up_is_at_most_a_fifth_of_the_run() -> None:
    assert rates([1, 2, 6], sched="cosine", warmup_epochs=99.0) == pytest.approx([0.2, 0.4, 0.2])


def test_constant_and_plateau() -> None:
    assert rates([0, 5, 9.9], sched="constant", warmup_epochs=0.0) == [0.4, 0.4, 0.4]
    assert rates([5], sched="plateau", plateau_scale=0.25) == pytest.approx([0.1])
    for sched in ("cosine", "constant"):
        assert rates([0], sched=sched, plateau_scale=0.25) == pytest.approx([0.4])


def test_the_plateau_cuts_after_its_patience_and_counts_anew() -> None:
    plateau = Plateau(patience=2, factor=0.5)
    losses = [1.0, 0.9, 0.9, 0.95, 0.8, 0.8, 0.81, 0.9, 0.9, float("nan")]
    cuts = [plateau.update(loss) for loss in losses]
    assert cuts == [False, False, False, True, False, False, True, False, True, False]
    assert plateau.scale == 0.5**3
    assert plateau.best == 0.8


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_norms_and_biases_are_not_decayed(opt: str) -> None:
    model = create_model("resnet9", num_classes=2, width=4)
    optimizer = create_optimizer(model, name=opt, weight_decay=0.3)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    names = dict(model.named_parameters())
    assert len(decay) == len(names)
    kinds = {
        name: isinstance(model.get_submodule(name.rpartition(".")[0]), torch.nn.BatchNorm2d) or name.endswith(".bias")
        for name in names
    }
    assert set(kinds.values()) == {True, False}
    for name, parameter in names.items():
        assert decay[id(parameter)] == (0.0 if kinds[name] else 0.3), name


def test_the_default_rate_is_the_optimiser_s_own() -> None:
    assert (default_lr("adamw"), default_lr("SGD"), default_lr("adadelta")) == (2e-3, 0.05, 1.0)


def test_set_lr_reaches_all_groups() -> None:
    optimizer = create_optimizer(create_model("fcn_small", num_classes=2), name="adamw")
    set_lr(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]
