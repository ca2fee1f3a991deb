"""Statistics taken anew, against NumPy over all values."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anysize.errors import TrainingError, UsageError
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.batch_norm import apply_policy, freeze_batch_norm
from anysize.stepping.recalibration import recalibrate
from oracle import random_images, randomise

SIZES = ((17, 23), (31, 13), (8, 40), (19, 19), (5, 64), (40, 40))
CUTS = {"one batch": (6,), "two": (2, 4), "uneven": (1, 3, 2), "one by one": (1,) * 6}


def net() -> nn.Sequential:
    layers = (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model = nn.Sequential(*layers).double()
    randomise(model)
    return model


def batched(cuts: tuple[int, ...], grouped: bool = False) -> list[Any]:
    images = random_images(SIZES, 2)
    # Offsets, so that the images differ in their means: the variance between batches must count.
    images = [image + 3.0 * number for number, image in enumerate(images)]
    found, start = [], 0
    for cut in cuts:
        parts = [RaggedBatch.from_images([image]) for image in images[start : start + cut]]
        found.append(RaggedGroup(parts) if grouped else RaggedBatch.from_images(images[start : start + cut]))
        start += cut
    return found


def naive(model: nn.Sequential, cuts: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per layer, mean and unbiased variance of the concatenation of everything that came into it, by NumPy."""
    first, second = model[0].double(), model[4].double()
    norm = model[1]
    seen: list[list[np.ndarray]] = [[], []]
    for batch in batched(cuts):
        maps = [first(image[None])[0].detach().numpy() for image in batch.unbind()]  # (3, h, w)
        pixels = np.concatenate([m.reshape(3, -1) for m in maps], axis=1)
        seen[0].append(pixels)
        mean, var = pixels.mean(1)[:, None, None], pixels.var(1)[:, None, None]
        weight, bias = (p.detach().numpy()[:, None, None] for p in (norm.weight, norm.bias))
        normal = [np.maximum((m - mean) / np.sqrt(var + norm.eps) * weight + bias, 0) for m in maps]
        outs = [second(torch.from_numpy(m)[None])[0].detach().numpy().reshape(4, -1) for m in normal]
        seen[1].append(np.concatenate(outs, axis=1))
    every = [np.concatenate(pixels, axis=1) for pixels in seen]
    return [(pixels.mean(1), pixels.var(1, ddof=1)) for pixels in every]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("cuts", CUTS.values(), ids=list(CUTS))
def test_statistics_of_all_values(cuts: tuple[int, ...], grouped: bool) -> None:
    model = net()
    expected = naive(model, cuts)
    done = recalibrate(model, batched(cuts, grouped))
    assert done.layers == ("1", "5")
    assert done.left == ()
    assert done.num_batches == len(cuts)
    for layer, (mean, variance) in zip((model[1], model[5]), expected, strict=True):
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), variance, rtol=1e-12)


def test_the_first_layer_does_not_care_how_images_are_batched() -> None:
    found = []
    for cuts in CUTS.values():
        model = net()
        recalibrate(model, batched(cuts))
        found.append(torch.cat([model[1].running_mean, model[1].running_var]))
    for other in found[1:]:
        assert torch.allclose(other, found[0], rtol=1e-12)


def test_plain_tensors() -> None:
    model = net()
    images = [torch.randn(n, 2, 9, 7, dtype=torch.float64) + n for n in (4, 1, 3)]
    recalibrate(model, images)
    pixels = np.concatenate([model[0](i).detach().numpy().transpose(1, 0, 2, 3).reshape(3, -1) for i in images], 1)
    np.testing.assert_allclose(model[1].running_mean.numpy(), pixels.mean(1), rtol=1e-12)
    np.testing.assert_allclose(model[1].running_var.numpy(), pixels.var(1, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("policy", [None, "recalibrate"])
def test_one_value_a_channel_counts_and_is_normalised_by_running_statistics(policy: str | None) -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).double()
    randomise(model)
    if policy:
        apply_policy(model, policy)
    before = copy.deepcopy(model).eval()
    images = random_images(SIZES, 2)
    recalibrate(model, [RaggedBatch.from_images([image]) for image in images])
    means = np.stack([image.numpy().mean((1, 2)) for image in images], 1)
    np.testing.assert_allclose(model[1].running_mean.numpy(), means.mean(1), rtol=1e-12)
    np.testing.assert_allclose(model[1].running_var.numpy(), means.var(1, ddof=1), rtol=1e-12)
    second = torch.cat([before[:3](image[None]) for image in images]).detach().numpy()[:, :, 0, 0]
    np.testing.assert_allclose(model[3].running_mean.numpy(), second.mean(0), rtol=1e-12)


def test_one_value_behind_larger_batches_meets_the_statistics_of_before() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    randomise(model)
    before = copy.deepcopy(model).eval()
    many, one = torch.randn(5, 2, dtype=torch.float64) + 4, torch.randn(1, 2, dtype=torch.float64)
    recalibrate(model, [many, one])
    training = copy.deepcopy(before).train()
    seen = torch.cat([training[:2](many), before[:2](one)]).detach().numpy()
    np.testing.assert_allclose(model[2].running_mean.numpy(), seen.mean(0), rtol=1e-12)


def test_nothing_else_moves() -> None:
    model = net().train()
    model[3].eval()
    model[5].momentum = 0.3
    freeze_batch_norm(model, ["1"])
    weights = copy.deepcopy(list(model.parameters()))
    first = copy.deepcopy(model[1].state_dict())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    done = recalibrate(model, batched((3, 3)))
    assert done.layers == ("5",)
    assert torch.equal(torch.get_rng_state(), state), "dropout drew"
    assert all(torch.equal(mine, its) for mine, its in zip(model.parameters(), weights, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, first[name]) for name, value in model[1].state_dict().items())
    assert [module.training for module in model] == [True, False, True, False, True, True]
    assert model[5].momentum == 0.3
    assert int(model[5].num_batches_tracked) == 0
    assert not model[5]._forward_pre_hooks


def test_the_same_bits_twice() -> None:
    found = []
    for _ in range(2):
        model = net()
        recalibrate(model, batched((2, 4)))
        recalibrate(model, batched((2, 4)))
        found.append(b"".join(buffer.numpy().tobytes() for buffer in model.buffers()))
    assert found[0] == found[1]


def test_layers_that_no_batch_reaches_are_named() -> None:
    model = net()
    model.add_module("unused", nn.BatchNorm2d(2).double())
    done = recalibrate(model, batched((6,)), forward=lambda network, batch: network[:6](batch))
    assert done.left == ("unused",)
    assert str(done) == (
        "running statistics of 2 layers taken anew over 1 batches; unchanged, for want of values: unused"
    )


def test_errors_leave_the_statistics_alone() -> None:
    model = net().train()
    before = [buffer.clone() for buffer in model.buffers()]
    with pytest.raises(UsageError, match=r"^no batch was given to take running statistics over\n"):
        recalibrate(model, [])
    broken = torch.full((1, 2, 9, 9), float("nan"), dtype=torch.float64)
    with pytest.raises(TrainingError, match=r"^the input of 1 is not finite, so it has no running statistics; none"):
        recalibrate(model, [torch.randn(2, 2, 9, 9, dtype=torch.float64), broken])
    with pytest.raises(RuntimeError):
        recalibrate(model, [torch.randn(2, 2, 9, 9, dtype=torch.float64), torch.randn(2, 7, 9, 9)])
    assert all(torch.equal(mine, its) for mine, its in zip(model.buffers(), before, strict=True))
    assert model.training
    assert not model[1]._forward_pre_hooks
