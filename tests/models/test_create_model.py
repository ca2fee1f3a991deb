"""Networks by name: what they hold, what they take, and what is said of names that do not exist."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from anysize.errors import UsageError
from anysize.models import create_model, has_batch_statistics, list_models, register_model, smallest_side
from anysize.models import registry as model_registry


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts() -> None:
    assert num_parameters(create_model("fcn_small", num_classes=3, in_channels=1)) == 10_259
    assert num_parameters(create_model("fcn_small", num_classes=3, in_channels=3)) == 10_259 + 2 * 9 * 32
    for num_classes, width in ((10, 32), (3, 4)):
        channels = [3, width, 2 * width, 2 * width, 2 * width, 4 * width, 8 * width, 8 * width, 8 * width]
        convolutions = sum(9 * a * b for a, b in itertools.pairwise(channels))
        norms = 2 * sum(channels[1:])
        model = create_model("resnet9", num_classes=num_classes, width=width)
        assert num_parameters(model) == convolutions + norms + (8 * width + 1) * num_classes


def test_smallest_side() -> None:
    assert smallest_side(create_model("fcn_small", num_classes=2, in_channels=1), 1) == 4
    assert smallest_side(create_model("resnet9", num_classes=2), 3) == 1
    for kernel in (1, 2, 37, 640):
        assert smallest_side(nn.Conv2d(2, 1, kernel), 2) == kernel
    model = nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2), nn.BatchNorm2d(1), nn.Conv2d(1, 1, 3, stride=2))
    assert smallest_side(model, 1) == 10
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert smallest_side(create_model("mnist_fcn", num_classes=2, in_channels=1), 1) == 28
    for side in (28, 5):  # larger is refused too, so no search would find it
        assert smallest_side(create_model("mnist_dense", num_classes=2, in_channels=1, image_size=side), 1) == side


def test_a_network_that_takes_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        smallest_side(nn.Conv2d(3, 1, 1), 2)
    assert str(caught.value) == "Conv2d accepts no image of 2 channels up to 4096 pixels a side"


def test_final_relu() -> None:
    images = torch.rand(2, 1, 9, 11)
    for final_relu in (True, False):
        torch.manual_seed(0)
        model = create_model("fcn_small", num_classes=4, in_channels=1, final_relu=final_relu)
        nn.init.constant_(model.head[4].bias, -100.0)
        logits = model(images)
        assert logits.shape == (2, 4)
        assert bool((logits == 0).all() if final_relu else (logits < -50).all())
    torch.manual_seed(0)
    default = create_model("fcn_small", num_classes=4, in_channels=1)
    nn.init.constant_(default.head[4].bias, -100.0)
    assert bool((default(images) == 0).all())


def test_batch_statistics() -> None:
    model = create_model("resnet9", num_classes=2, width=2)
    assert has_batch_statistics(model)
    assert not has_batch_statistics(model.eval())
    assert has_batch_statistics(nn.BatchNorm2d(2, track_running_stats=False).eval())
    assert not has_batch_statistics(create_model("fcn_small", num_classes=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: create_model("resnet_9", num_classes=2),
            f"there is no model named 'resnet_9'; the models are {', '.join(list_models())}\n"
            "hint: did you mean resnet9?",
        ),
        (
            lambda: create_model("vgg", num_classes=2),
            f"there is no model named 'vgg'; the models are {', '.join(list_models())}",
        ),
        (
            lambda: create_model("resnet9", num_classes=0),
            "num_classes is 0 and in_channels 3; both must be at least 1",
        ),
        (
            lambda: create_model("resnet9", num_classes=2, in_channels=-1),
            "num_classes is 2 and in_channels -1; both must be at least 1",
        ),
        (
            lambda: create_model("resnet9", num_classes=2, depth=3, breadth=4),
            "resnet9 has no option breadth, depth; its options are width",
        ),
        (
            lambda: create_model("fcn_small", num_classes=2, width=3),
            "fcn_small has no option width; its options are final_relu",
        ),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


def test_a_model_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_registry, "_BUILDERS", dict(model_registry._BUILDERS))

    @register_model
    class TinyNet(nn.Conv2d):
        def __init__(self, num_classes: int, in_channels: int) -> None:
            super().__init__(in_channels, num_classes, 1)

    assert "tiny_net" in list_models()
    model = create_model("tiny_net", num_classes=4, in_channels=2)
    assert isinstance(model, TinyNet)
    assert model.weight.shape == (4, 2, 1, 1)
    with pytest.raises(UsageError, match=r"^tiny_net has no option width; its options are none$"):
        create_model("tiny_net", num_classes=4, width=1)
