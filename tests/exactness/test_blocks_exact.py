"""Blocks in which one tensor has several readers: what one of them clears, no other may miss."""

import itertools
from typing import Any

import pytest
import torch
from alone import LENGTHS, VOLUMES, drawn_sizes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oracle import AWKWARD_SIZES, check_exact, randomise

SIZES = (*AWKWARD_SIZES, ((1, 1), (1, 9), (7, 1)))
POISON = (None, torch.nan, torch.inf, 1e30)


class Branches(nn.Module):
    """The sum of readers of one tensor, read in the order given.

    Letters: c padded convolution, b BatchNorm, p convolution without padding, m max-pool, s sigmoid,
    i identity.
    """

    def __init__(self, order: str, *, rectify: bool, stem: bool = True) -> None:
        super().__init__()
        self.order = order
        self.stem = nn.Conv2d(3, 4, 3, padding=1) if stem else None
        self.rectify = nn.ReLU(inplace=True) if rectify else nn.Identity()
        self.readers = nn.ModuleDict(
            {
                "c": nn.Conv2d(4, 4, 3, padding=1),
                "b": nn.BatchNorm2d(4),
                "p": nn.Conv2d(4, 4, 1),
                "m": nn.MaxPool2d(3, 1, 1),
                "s": nn.Sigmoid(),
                "i": nn.Identity(),
            }
        )

    def forward(self, x: Any) -> Any:
        x = self.rectify(x if self.stem is None else self.stem(x))
        parts = [self.readers[letter](x) for letter in self.order]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("cbi")])
@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_convolution_batch_norm_and_identity_of_one_tensor(order: str, rectify: bool, training: bool) -> None:
    for sizes, poison in zip(itertools.cycle(SIZES), (*POISON, None, None), strict=False):
        check_exact(randomise(Branches(order, rectify=rectify)), sizes, channels=3, training=training, poison=poison)


@pytest.mark.parametrize(
    "order", ["cm", "mc", "mcb", "bmc", "pcs", "scp", "psb", "bsp", "cc", "bb", "cmbpsi", "ispbmc"]
)
def test_other_readers_of_one_tensor(order: str) -> None:
    for rectify, poison in itertools.product((True, False), POISON):
        check_exact(randomise(Branches(order, rectify=rectify)), AWKWARD_SIZES[3], channels=3, poison=poison)


@pytest.mark.parametrize("order", ["cbi", "bci", "icb", "mcb"])
@pytest.mark.parametrize("poison", POISON)
def test_readers_of_the_input_itself(order: str, poison: float | None) -> None:
    check_exact(randomise(Branches(order, rectify=False, stem=False)), SIZES[0], channels=4, poison=poison)


@settings(max_examples=25, deadline=None)
@given(
    order=st.text("cbpmsi", min_size=1, max_size=5),
    rectify=st.booleans(),
    sizes=drawn_sizes(2),
    data=st.data(),
)
def test_any_readers_of_any_sizes(order: str, rectify: bool, sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    model = randomise(Branches(order, rectify=rectify))
    training, poison = data.draw(st.booleans()), data.draw(st.sampled_from(POISON))
    # BatchNorm over a few pixels divides by a deviation that may be tiny; 1e-12 is of the largest value.
    check_exact(model, sizes, channels=3, training=training, poison=poison, tolerance=1e-10)


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """He et al. 2016: the sum is rectified in place."""

    def __init__(self, *, in_place_sum: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 4), nn.ReLU(inplace=True))
        self.first, self.second = conv_bn(4, 6, 2), conv_bn(6, 6)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, 2, bias=False), nn.BatchNorm2d(6))
        self.rectify = nn.ReLU(inplace=True)
        self.in_place_sum = in_place_sum

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        branch = self.second(self.rectify(self.first(x)))
        if self.in_place_sum:
            branch += self.shortcut(x)
        else:
            branch = branch + self.shortcut(x)
        return self.rectify(branch)


class Preactivation(nn.Module):
    """He et al. 2016b: the identity is what BatchNorm reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(4))
        self.convolutions = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))
        self.rectify = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = x + convolution(self.rectify(norm(x)))
        return x


class Dense(nn.Module):
    """After Huang et al. 2017: each layer reads all earlier ones, here as their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1)) for _ in range(3)
        )

    def forward(self, x: Any) -> Any:
        features = [self.stem(x)]
        for layer in self.layers:
            total = features[0]
            for feature in features[1:]:
                total = total + feature
            features.append(layer(total) * 0.5 + features[-1])
        return features[-1] + features[0]


class TwoStrides(nn.Module):
    """Inception's reduction: a strided convolution and a strided max-pool of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4)
        self.convolution, self.pool = nn.Conv2d(4, 4, 3, 2, 1), nn.MaxPool2d(3, 2, 1)
        self.after = conv_bn(4, 4)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        return self.after(self.convolution(x) + self.pool(x)) + self.pool(x) * self.convolution(x)


BLOCKS = {
    "residual": lambda: Residual(in_place_sum=False),
    "residual_in_place": lambda: Residual(in_place_sum=True),
    "preactivation": Preactivation,
    "dense": Dense,
    "two_strides": TwoStrides,
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("training", [True, False])
def test_block(name: str, training: bool) -> None:
    model = randomise(BLOCKS[name]())
    for sizes in AWKWARD_SIZES:
        check_exact(model, sizes, channels=3, training=training)
    for poison in POISON:
        check_exact(model, AWKWARD_SIZES[3], channels=3, training=training, poison=poison)


class ChannelsLast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("name", BLOCKS)
def test_block_in_channels_last(name: str) -> None:
    model = ChannelsLast(randomise(BLOCKS[name]())).to(memory_format=torch.channels_last)
    for poison in (None, torch.nan):
        check_exact(model, AWKWARD_SIZES[0], channels=3, poison=poison)


NORMS = {
    "plain": {},
    "without_affine": {"affine": False},
    "without_running_statistics": {"track_running_stats": False},
    "momentum": {"momentum": 0.7},
    "cumulative": {"momentum": None},
    "large_eps": {"eps": 0.3},
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("poison", POISON)
def test_batch_norm(name: str, training: bool, poison: float | None) -> None:
    for sizes in (*AWKWARD_SIZES, ((1, 1), (1, 2)), ((1, 40), (40, 1))):
        model = randomise(nn.BatchNorm2d(4, **NORMS[name]))
        check_exact(model, sizes, channels=4, training=training, poison=poison)
    around = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, **NORMS[name]), nn.Conv2d(4, 4, 3, padding=1))
    check_exact(randomise(around), AWKWARD_SIZES[3], channels=4, training=training, poison=poison)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_over_one_and_three_axes(training: bool) -> None:
    for module, sizes in ((nn.BatchNorm1d(3), LENGTHS), (nn.BatchNorm3d(3), VOLUMES)):
        check_exact(randomise(module), sizes, channels=3, training=training, poison=torch.nan)


@settings(max_examples=25, deadline=None)
@given(sizes=drawn_sizes(1).filter(lambda sizes: sum(h * w for h, w in sizes) >= 8))
def test_batch_norm_of_any_size(sizes: list[tuple[int, int]]) -> None:
    check_exact(randomise(nn.BatchNorm2d(3)), sizes, channels=3, poison=torch.nan)


def test_two_forwards_before_one_backward() -> None:
    """The running statistics move twice, and the tensors kept for the first backward are still right."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = randomise(Preactivation())

        def forward(self, x: Any) -> Any:
            return self.block(x) + self.block(x * 2.0)

    check_exact(Twice(), AWKWARD_SIZES[0], channels=3, poison=torch.nan)
