"""Optimisers by name: which parameters are in which group, what is decayed, and what a checkpoint brings back."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

from anysize.errors import CheckpointError, UsageError
from anysize.models import create_model
from anysize.stepping.optimizers import (
    create_optimizer,
    default_lr,
    list_optimizers,
    load_optimizer_state,
    optimizer_state,
    set_lr,
    takes_momentum,
    undecayed_parameters,
)
from anysize.stepping.stages import freeze_backbone

REFUSED = {"LBFGS", "Muon", "SparseAdam"}
IN_TORCH = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
)


class Model(nn.Module):
    """A backbone and a head with every kind of parameter that is, or is not, decayed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
        self.norm = nn.LayerNorm((4, 5, 5))
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.fc = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> Any:
        maps = self.norm(self.encoder(images)) * self.scale
        return self.fc(maps.mean((2, 3)))


def model(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model()


def loss(network: nn.Module) -> torch.Tensor:
    torch.manual_seed(5)
    result: torch.Tensor = network(torch.randn(6, 2, 7, 7)).square().mean()
    return result


def by_name(optimizer: torch.optim.Optimizer, key: str) -> dict[str, Any]:
    return {name: group[key] for group in optimizer.param_groups for name in group["param_names"]}


@pytest.mark.parametrize("name", IN_TORCH)
def test_every_optimiser_of_torch_works_or_is_refused(name: str) -> None:
    network = model()
    if name in REFUSED:
        with pytest.raises(UsageError, match=rf"^torch\.optim\.{name} cannot train here: it ") as caught:
            create_optimizer(network, name=name.lower())
        assert caught.value.hint == "--opt adamw, or sgd, or another"
        return
    assert name in list_optimizers()
    optimizer = create_optimizer(network, name=name.upper(), momentum=0.9, weight_decay=0.0, backbone_lr=0.5)
    assert type(optimizer) is getattr(torch.optim, name)
    before = copy.deepcopy(network.state_dict())
    set_lr(optimizer, default_lr(name))
    loss(network).backward()
    optimizer.step()
    moved = {key for key, value in network.named_parameters() if not torch.equal(value, before[key])}
    # The bias before a batch normalisation has a gradient of zero, up to rounding.
    assert moved | {"encoder.0.bias"} == set(dict(network.named_parameters()))


def test_four_groups_with_rates_and_decay_of_their_own() -> None:
    optimizer = create_optimizer(model(), name="sgd", lr=0.2, weight_decay=0.3, backbone_lr=0.1)
    decays, rates = by_name(optimizer, "weight_decay"), by_name(optimizer, "lr")
    head = {"norm.weight", "norm.bias", "scale", "fc.weight", "fc.bias"}
    # PReLU and biases have one axis; the layer normalisation has three, and so has the scale, which is a vector.
    assert {name for name, decay in decays.items() if decay == 0.3} == {"encoder.0.weight", "fc.weight"}
    assert {name for name, decay in decays.items() if decay == 0} == set(dict(model().named_parameters())) - {
        "encoder.0.weight",
        "fc.weight",
    }
    assert rates == {name: pytest.approx(0.2 if name in head else 0.02) for name in decays}
    assert len(optimizer.param_groups) == 4
    set_lr(optimizer, 0.5)
    assert by_name(optimizer, "lr") == {name: pytest.approx(0.5 if name in head else 0.05) for name in decays}


def test_what_is_not_decayed_in_our_networks() -> None:
    network = create_model("resnet9", num_classes=2, width=4)
    undecayed = set(undecayed_parameters(network))
    for name, parameter in network.named_parameters():
        kind = network.get_submodule(name.rpartition(".")[0])
        is_weight = isinstance(kind, nn.Conv2d | nn.Linear) and name.endswith(".weight")
        assert (name not in undecayed) == is_weight, name
        assert is_weight == (parameter.dim() > 1)


def test_segmenters_have_the_encoder_for_a_backbone() -> None:
    network = create_model("unet", num_classes=2, encoder="resnet18")
    rates = by_name(create_optimizer(network, name="adamw", lr=1.0, backbone_lr=0.1), "lr")
    assert {name.split(".")[0] for name, lr in rates.items() if lr == 1} == {"decoder", "segmentation_head"}
    assert {name.split(".")[0] for name, lr in rates.items() if lr == 0.1} == {"encoder"}
    assert set(rates) == {name for name, _ in network.named_parameters()}


def test_momentum_and_options() -> None:
    def made(name: str, **more: Any) -> dict[str, Any]:
        return create_optimizer(model(), name=name, **more).defaults

    assert (made("sgd", momentum=0.9)["momentum"], made("sgd", momentum=0.9)["nesterov"]) == (0.9, True)
    assert (made("sgd", momentum=0.0)["nesterov"], made("sgd")["nesterov"]) == (False, False)
    assert made("sgd", momentum=0.9, options={"nesterov": False})["nesterov"] is False
    assert made("adamw", momentum=0.8)["betas"] == (0.8, 0.999)
    assert made("adamw", momentum=0.8, options={"betas": [0.5, 0.9]})["betas"] == (0.5, 0.9)
    assert made("adamw")["betas"] == (0.9, 0.999)
    assert made("rmsprop", momentum=0.7, options={"alpha": 0.5})["momentum"] == 0.7
    adadelta = made("AdaDelta", momentum=0.9, options={"rho": 0.95})
    assert (adadelta["rho"], adadelta["lr"]) == (0.95, 1.0)
    assert takes_momentum("sgd")
    assert not takes_momentum("adadelta")
    assert (default_lr("AdamW"), default_lr("sgd"), default_lr("Adadelta"), default_lr("rmsprop")) == (
        2e-3,
        0.05,
        1.0,
        0.01,
    )


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"^torch\.optim has no optimiser named 'adamm'; it has asgd") as caught:
        create_optimizer(model(), name="adamm")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean adam")
    message = r"^torch\.optim\.Adadelta has no option row; its options are rho, eps, foreach\n"
    with pytest.raises(UsageError, match=message) as caught:
        create_optimizer(model(), name="adadelta", options={"row": 0.9})
    assert caught.value.hint == "did you mean rho?"
    with pytest.raises(UsageError, match=r"^torch\.optim\.SGD does not take lr=0\.05, momentum=-1, nesterov=True: Inv"):
        create_optimizer(model(), name="sgd", options={"momentum": -1})
    with pytest.raises(UsageError, match=r"^Rprop has no weight decay, and weight_decay is 0\.1\nhint: --weight-d"):
        create_optimizer(model(), name="rprop", weight_decay=0.1)
    expected = "lr is 1, backbone_lr 0 and weight_decay 0; the rates must be greater than 0, the decay at least 0"
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}\nhint: --head-epochs holds the backbone still$"):
        create_optimizer(model(), name="sgd", lr=1.0, backbone_lr=0.0)
    with pytest.raises(UsageError, match=r"^ReLU has no parameters, so there is nothing to train$"):
        create_optimizer(nn.ReLU(), name="sgd")


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw", "adadelta", "rmsprop", "adafactor"])
def test_state_comes_back_by_name_into_other_groups(name: str) -> None:
    def make(network: nn.Module, backbone_lr: float) -> torch.optim.Optimizer:
        return create_optimizer(network, name=name, lr=0.01, momentum=0.9, backbone_lr=backbone_lr)

    straight, broken = model(), model()
    first, second = make(straight, 0.5), make(broken, 0.5)
    train(straight, first, 4)
    train(broken, second, 2)
    kept = optimizer_state(second)
    assert set(kept) == {key for key, _ in broken.named_parameters()}
    resumed = make(broken, 0.5)
    load_optimizer_state(resumed, kept)
    train(broken, resumed, 2)
    for mine, its in zip(broken.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, its)
    # With one rate for all there are two groups, in another order.
    other = make(broken, 1.0)
    load_optimizer_state(other, optimizer_state(resumed))
    for key, values in optimizer_state(resumed).items():
        assert all(torch.equal(value, optimizer_state(other)[key][field]) for field, value in values.items())


def test_state_of_another_network_is_refused() -> None:
    network = model()
    optimizer = create_optimizer(network, name="adamw")
    train(network, optimizer, 1)
    kept = optimizer_state(optimizer)
    with pytest.raises(CheckpointError, match=r"^the optimiser's state is of parameters that the network does"):
        load_optimizer_state(optimizer, {**kept, "fc2.weight": kept["fc.weight"]})
    with pytest.raises(CheckpointError, match=r"^the optimiser's exp_avg of fc\.weight has the shape \(4,\), the"):
        load_optimizer_state(optimizer, {"fc.weight": {"exp_avg": torch.zeros(4)}})


def test_a_frozen_backbone_waits_in_the_optimiser() -> None:
    network = model()
    optimizer = create_optimizer(network, name="adamw", lr=0.1, weight_decay=0.5)
    stage = freeze_backbone(network)
    before = copy.deepcopy(network.state_dict())
    train(network, optimizer, 2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("encoder."), name
    assert not any(name.startswith("encoder.") for name in optimizer_state(optimizer))
    stage.undo(network)
    train(network, optimizer, 1)
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert {key for key in before if key.startswith("encoder.")} <= moved
