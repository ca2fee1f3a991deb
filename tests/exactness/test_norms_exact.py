"""Group, instance, layer and local response normalisation, in every spelling."""

from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F

from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES, check_exact, poisoned, randomise, relative_error

NORMS: dict[str, Any] = {
    "group": lambda x: F.group_norm(x, 2),
    "group_1": nn.GroupNorm(1, 6, affine=False),
    "group_native": lambda x: torch.group_norm(x, 3, None, None, 1e-3),
    "instance": lambda x: F.instance_norm(x),
    "instance_module": nn.InstanceNorm2d(6),
    "local_response": lambda x: F.local_response_norm(x, 3),
    "local_response_k_0": lambda x: F.local_response_norm(x, 5, alpha=1.0, k=0.0),
    "l2": lambda x: F.normalize(x),
    "l2_over_space": lambda x: F.normalize(x, dim=(2, 3)),
    "l1_over_rows": lambda x: F.normalize(x, p=1.0, dim=3),
}
WEIGHT = torch.randn(2, 6, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NORMS)
def test_norm(name: str) -> None:
    function = NORMS[name]
    for sizes in AWKWARD_SIZES:
        check_alone(function, sizes, channels=6)
    for padding in PADDINGS:
        check_alone(function, AWKWARD_SIZES[0], channels=6, padding=padding, channels_last=True)
        check_alone(lambda x: F.conv2d(function(x), WEIGHT, padding=1), AWKWARD_SIZES[3], channels=6, padding=padding)
    check_padding_gradient(function, ((9, 14), (13, 7)), channels=6)


@pytest.mark.parametrize("name", ["group", "group_1", "instance", "local_response", "l2"])
def test_norm_over_one_and_three_axes(name: str) -> None:
    check_alone(NORMS[name], LENGTHS, channels=6, padding="nan")
    check_alone(NORMS[name], VOLUMES, channels=6, padding="nan")


@settings(max_examples=15, deadline=None)
@given(sizes=drawn_sizes(1))
def test_group_norm_of_any_size(sizes: list[tuple[int, int]]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1))
    check_exact(randomise(model), sizes, channels=3, poison=torch.nan)


class ChannelsLast(nn.Module):
    """A layer normalisation between two permutations, as ConvNeXt has it; and a response normalisation (GRN)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.gamma, self.beta = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: Any) -> Any:
        x = self.norm(self.stem(x).permute(0, 2, 3, 1))
        strength = x.norm(p=2, dim=(1, 2), keepdim=True)
        share = strength / (strength.mean(dim=-1, keepdim=True) + 1e-6)
        x = x + torch.addcmul(self.beta.view(1, 1, 1, -1), self.gamma.view(1, 1, 1, -1), x * share)
        return self.head(x.permute(0, 3, 1, 2))


class LayerNorm2d(nn.Module):
    """Over channels, where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
        self.head = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        x = (x - mean) * torch.rsqrt(variance + 1e-6)
        return self.head(x * self.weight[:, None, None] + self.bias[:, None, None])


class EvoNorm(nn.Module):
    """EvoNorm B0 without its running statistics, and a filter response normalisation before it."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.tau = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
        self.head = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = x * x.square().mean(dim=(2, 3), keepdim=True).add(1e-5).rsqrt()
        x = torch.maximum(x, self.tau.view(1, -1, 1, 1))
        deviation = x.var(dim=(2, 3), unbiased=False, keepdim=True).add(1e-5).sqrt()
        return self.head(x / (x * self.v.view(1, -1, 1, 1) + deviation.expand_as(x)).max(deviation))


class Attention(nn.Module):
    """Channel attention by means and maxima, spatial attention over channels (CBAM), and coordinate attention."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.space = nn.Conv2d(3, 3, 1), nn.Conv2d(1, 1, 7, padding=3)
        self.rows, self.columns = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        gate = self.squeeze(x.mean((2, 3), keepdim=True)) + self.squeeze(torch.amax(x, (2, 3), keepdim=True))
        x = x * gate.sigmoid()
        x = x * self.space(x.mean(1, keepdim=True) + x.amax(1, True) + x.max(dim=1, keepdim=True)[0]).sigmoid()
        across, down = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
        x = x * F.relu6(self.rows(across) + 3) / 6 * self.columns(down).sigmoid()
        return self.head(x)


@pytest.mark.parametrize(
    "model",
    [
        ChannelsLast(), LayerNorm2d(), EvoNorm(), Attention(),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 2, 3, padding=1)),
        nn.Sequential(nn.GroupNorm(3, 3), nn.LocalResponseNorm(2), nn.Conv2d(3, 2, 3, padding=1)),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_block(model: nn.Module) -> None:
    for sizes in (*AWKWARD_SIZES, ((2, 2), (5, 1), (2, 9))):
        check_model(randomise(model), sizes)


def check_model(model: nn.Module, sizes: Any) -> None:
    """Compare values and the gradients of images and parameters with those of each image alone."""
    model.double()
    images = [torch.randn(3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]
    maps = model(poisoned(RaggedBatch.from_images(images), torch.nan)).unbind()
    truth = [model(image[None])[0] for image in images]
    weights = [torch.randn_like(true) for true in truth]
    leaves = [*images, *model.parameters()]
    gradients = []
    for outputs in (maps, truth):
        total = sum((value * weight).sum() for value, weight in zip(outputs, weights, strict=True))
        gradients.append(torch.autograd.grad(total, leaves))
    for pairs in (zip(maps, truth, strict=True), zip(*gradients, strict=True)):
        pairs = list(pairs)
        scale = max(float(true.detach().abs().max()) for _, true in pairs)
        assert max(relative_error(mine.detach(), true.detach(), scale) for mine, true in pairs) < 1e-12


def test_instance_norm_with_running_statistics() -> None:
    """Updated by the mean of the images' own; used in evaluation."""
    images = [torch.randn(4, *size, dtype=torch.float64) for size in ((3, 5), (4, 2), (6, 6))]
    batch = RaggedBatch.from_images(images)
    group = RaggedGroup([RaggedBatch.from_images(images[:1]), RaggedBatch.from_images(images[1:])])
    for inputs in (batch, group):
        norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True).double()
        randomise(norm)
        alone = [nn.InstanceNorm2d(4, affine=True, track_running_stats=True).double() for _ in images]
        for one in alone:
            one.load_state_dict(norm.state_dict())
        truth = [one(image[None])[0] for one, image in zip(alone, images, strict=True)]
        for got, expected in zip(norm(inputs).unbind(), truth, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        for name in ("running_mean", "running_var"):
            mean = torch.stack([getattr(one, name) for one in alone]).mean(0)
            torch.testing.assert_close(getattr(norm, name), mean, rtol=1e-12, atol=1e-12)
        norm.eval()
        for got, image in zip(norm(inputs).unbind(), images, strict=True):
            torch.testing.assert_close(got, norm(image[None])[0], rtol=1e-12, atol=1e-12)


def test_half_precision_group_norm_has_statistics_in_float32() -> None:
    images = [(300 + torch.randn(2, *size)).to(torch.bfloat16) for size in ((40, 30), (60, 20))]
    batch = F.group_norm(RaggedBatch.from_images(images), 1)
    assert batch.dtype is torch.bfloat16
    for got, image in zip(batch.unbind(), images, strict=True):
        torch.testing.assert_close(got, F.group_norm(image[None].float(), 1)[0].to(torch.bfloat16))
