"""Group normalisation in place of batch normalisation."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import anysize
from anysize.errors import UsageError
from anysize.models import create_model
from anysize.models.group_norm import num_groups, with_group_norm
from anysize.models.named import import_zoo
from anysize.stepping.batch_norm import apply_policy
from oracle import check_exact, randomise


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU(), nn.Conv2d(8, 3, 1))


def kinds(model: nn.Module) -> set[type]:
    return {type(module) for module in model.modules()}


def test_values_are_those_of_the_formula() -> None:
    model = net().double()
    randomise(model)
    maps = model[0](torch.randn(3, 2, 9, 7, dtype=torch.float64))
    weight, bias = (p.detach().numpy().reshape(1, 8, 1, 1) for p in (model[1].weight, model[1].bias))
    assert with_group_norm(model, 2) == 1
    found = model[1](maps).detach().numpy()
    values = maps.detach().numpy().reshape(3, 2, 4 * 7 * 5)
    mean, var = values.mean(2, keepdims=True), values.var(2, keepdims=True)
    normal = ((values - mean) / np.sqrt(var + 1e-3)).reshape(3, 8, 7, 5)
    np.testing.assert_allclose(found, normal * weight + bias, rtol=1e-10, atol=1e-12)


def test_the_number_of_groups() -> None:
    wanted = {256: 32, 64: 32, 48: 24, 40: 20, 32: 16, 24: 12, 7: 1, 9: 3, 1: 1}
    assert {channels: num_groups(channels) for channels in wanted} == wanted
    for channels in range(1, 130):
        for groups in (1, 5, 32):
            found = num_groups(channels, groups)
            assert channels % found == 0
            assert found <= groups
            assert channels // found >= min(2, channels)
            better = [d for d in range(found + 1, groups + 1) if channels % d == 0 and channels // d >= 2]
            assert not better


def test_scale_and_shift_are_the_same_parameters() -> None:
    model = net()
    before = dict(model.named_parameters())
    names = list(model.state_dict())
    with_group_norm(model.eval())
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert list(model.state_dict()) == [name for name in names if "running" not in name and "num_batches" not in name]
    assert not model[1].training


@pytest.mark.parametrize("name", ["deeplabv3plus", "unet"])
def test_our_networks_train_on_one_image_and_keep_sizes(name: str) -> None:
    options: dict[str, Any] = {"channels": 16, "dropout": 0.0} if name == "deeplabv3plus" else {}
    model = create_model(name, num_classes=3, in_channels=2, encoder="resnet18", **options)
    with_group_norm(model)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    batch = anysize.RaggedBatch.from_images([torch.randn(2, 40, 33)])
    out = model.train()(batch)
    assert out.sizes == ((40, 33),)
    assert torch.allclose(out.unbind()[0], model(batch.unbind()[0][None])[0], atol=1e-4)


def test_each_image_of_a_mixed_batch_is_normalised_by_itself() -> None:
    model = net()
    randomise(model)
    with_group_norm(model)
    check_exact(model, ((17, 23), (31, 13), (8, 40)), channels=2, poison=float("nan"), tolerance=1e-10)


def test_a_layer_used_twice_stays_one() -> None:
    shared = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(4, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)
    assert with_group_norm(model) == 1
    assert model[1] is model[3]
    assert type(model[3]) is nn.GroupNorm


def test_layers_of_timm_keep_their_activation() -> None:
    model = import_zoo("timm").create_model("efficientnet_lite0", num_classes=3)
    names = dict(model.named_parameters())
    with_group_norm(model)
    assert list(dict(model.named_parameters())) == list(names)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    assert model.bn1(torch.randn(2, 32, 5, 5)).min() == 0, "its ReLU6 is gone"
    assert model(torch.randn(1, 3, 40, 40)).shape == (1, 3)


def test_behind_a_policy_lies_the_same_layer() -> None:
    model = net()
    apply_policy(model, "train")
    assert with_group_norm(model) == 1
    assert type(model[1]) is nn.GroupNorm


class Odd(nn.BatchNorm2d):
    """Does more than normalise."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 2


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"^0 is a Odd, whose forward may do more than normalise: group normalisation"):
        with_group_norm(nn.Sequential(Odd(4)))
    with pytest.raises(UsageError, match=r"^the network is a BatchNorm2d and nothing else, which cannot be replaced"):
        with_group_norm(nn.BatchNorm2d(4))
    with pytest.raises(UsageError, match=r"^groups is 0; it must be at least 1$"):
        with_group_norm(net(), 0)
    with pytest.raises(UsageError, match=r"^0 is a lazy layer and does not know its channels yet\nhint: run one batch"):
        with_group_norm(nn.Sequential(nn.LazyBatchNorm2d()))
