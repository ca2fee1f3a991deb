"""The head first, then everything; and what is the head."""

from typing import Any

import pytest
import torch
from torch import nn

from anysize.errors import UsageError
from anysize.memory import enable_checkpointing
from anysize.models import create_model, list_models
from anysize.models.named import import_zoo
from anysize.stepping.batch_norm import apply_policy, frozen_layers, live_layers
from anysize.stepping.batch_norm_guard import BatchNormGuard
from anysize.stepping.stages import freeze_backbone, head_parameters


class Own(nn.Module):
    """A module of a user's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())
        self.top = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))

    def forward(self, images: Any) -> Any:
        return self.top(self.body(images))


def roots(names: tuple[str, ...]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_the_heads_of_our_networks() -> None:
    found = {}
    for name in list_models():
        with torch.device("meta"):
            found[name] = roots(head_parameters(create_model(name, num_classes=3)))
    assert found["deeplabv3plus"] == found["unet"] == {"decoder", "segmentation_head"}
    assert found["resnet18"] == {"fc"}
    assert found["resnet9"] == {"classifier"}
    assert found["xception"] == {"predictions"}
    assert len(found) > 10
    assert all(found.values())


def test_an_auxiliary_head_is_head() -> None:
    model = create_model("deeplabv3plus", num_classes=3, encoder="resnet18", channels=8, aux_head=True)
    assert roots(head_parameters(model)) == {"decoder", "segmentation_head", "auxiliary_head"}


def test_the_heads_of_other_libraries() -> None:
    torchvision, smp, timm = import_zoo("torchvision"), import_zoo("smp"), import_zoo("timm")
    with torch.device("meta"):
        assert roots(head_parameters(torchvision.models.resnet18())) == {"fc"}
        assert roots(head_parameters(torchvision.models.mobilenet_v3_small())) == {"classifier"}
        fcn = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3)
        assert roots(head_parameters(fcn)) == {"classifier"}
        assert roots(head_parameters(timm.create_model("convnext_atto"))) == {"head"}
    unet = smp.Unet("resnet18", encoder_weights=None)
    assert roots(head_parameters(unet)) == {"decoder", "segmentation_head"}


def test_names_of_one_s_own() -> None:
    model = Own()
    assert head_parameters(model, ["top"]) == tuple(n for n, _ in model.named_parameters() if n.startswith("top."))
    assert head_parameters(model, ["top.2"]) == ("top.2.weight", "top.2.bias")
    assert head_parameters(model, ["top.2.bias"]) == ("top.2.bias",)


def test_errors() -> None:
    message = "^Own does not say which of its layers are the head\nhint: head_names=.*, of body, top$"
    with pytest.raises(UsageError, match=message):
        head_parameters(Own())
    with pytest.raises(UsageError, match=r"^Own has no module or parameter named 'tops'\nhint: did you mean top\?$"):
        head_parameters(Own(), ["tops"])
    with pytest.raises(UsageError, match=r"^the head of Own \(body, top\) has 8 of its 8 parameters; head and"):
        head_parameters(Own(), ["body", "top"])
    with pytest.raises(UsageError, match=r"^the head of Own \(body\.2\) has 0 of its 8 parameters"):
        head_parameters(Own(), ["body.2"])


def step(model: nn.Module) -> None:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(3, 2, 9, 9)).square().sum().backward()
    optimizer.step()


def content(model: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("policy", [None, "train", "frozen"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_backbone_stands_still_bit_by_bit_and_then_moves(policy: str | None, checkpointed: bool) -> None:
    model = Own()
    model.body[0].bias.requires_grad_(False)  # someone's own choice, which stays
    if policy:
        apply_policy(model, policy)
    before_roles = (live_layers(model), frozen_layers(model), [type(module) for module in model.modules()])
    if checkpointed:
        enable_checkpointing(model)
    before = content(model)
    stage = freeze_backbone(model, ["top"])
    for epoch in range(4):
        if epoch == 2:
            stage.undo(model)
        if epoch < 2:
            guard = BatchNormGuard(model)
            step(model)
            guard.check(model)
            moved = {name for name, value in content(model).items() if value != before[name]}
            assert {"top.0.weight", "top.1.weight"} <= moved
            assert not any(name.startswith("body.") for name in moved)
            assert "body.1" in frozen_layers(model)
        else:
            step(model)
    moved = {name for name, value in content(model).items() if value != before[name]}
    assert "body.0.weight" in moved
    assert "body.0.bias" not in moved
    assert ("body.1.running_mean" in moved) == (policy != "frozen")
    if not checkpointed:
        assert (live_layers(model), frozen_layers(model), [type(m) for m in model.modules()]) == before_roles


def test_undo_gives_back_what_was() -> None:
    model = Own()
    stage = freeze_backbone(model, ["top"])
    assert stage.parameters == ("body.0.weight", "body.0.bias")
    assert stage.batch_norms == ("body.1",)
    stage.undo(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert frozen_layers(model) == ()
