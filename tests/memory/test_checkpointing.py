"""Activation checkpointing changes nothing but memory: values, gradients, running statistics and random numbers."""

import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from anysize.errors import TrainingError
from anysize.losses import cross_entropy
from anysize.memory import disable_checkpointing, enable_checkpointing, is_checkpointed
from anysize.memory.checkpointing import _runs
from anysize.memory.peaks import traced_rise
from anysize.models import create_model
from anysize.ragged import RaggedBatch, RaggedGroup


class Block(nn.Module):
    """As torchvision's basic block: normalised, added up and rectified in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.dropout(self.relu(self.bn1(self.conv1(x))))))
        out += x
        return self.relu(out)


class ResidualNet(nn.Module):
    """A stem, two stages of blocks with dropout, and a head."""

    def __init__(self, in_channels: int = 3, blocks: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(*(Block(8) for _ in range(blocks)))
        self.layer2 = nn.Sequential(*(Block(8) for _ in range(blocks)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.avgpool(x).flatten(1))


def plain_sequence() -> nn.Module:
    """Layers one after another, as VGG has them: one long sequence without blocks."""
    layers: list[nn.Module] = []
    for number in range(6):
        layers += [nn.Conv2d(3 if number == 0 else 8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish(inplace=True)]
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


class Added(nn.Sequential):
    """A sequence that does more than its layers."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Counting(nn.Module):
    """Has a state of its own, which its result depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.relu(self.conv(x)) * (1 + self.passes)


class BeginsInPlace(nn.Module):
    """Overwrites what it is called with."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.act, self.conv = kind(inplace=True), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.act(x))


IN_PLACE = (nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.ReLU)


def blocks_of(block: Callable[[], nn.Module]) -> nn.Module:
    """Two blocks between a stem and a head."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), block(), block()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def begins_in_place(kind: type[nn.Module]) -> nn.Module:
    sequence = nn.Sequential(kind(inplace=True), nn.Conv2d(8, 8, 3, padding=1))
    return blocks_of(lambda: nn.Sequential(BeginsInPlace(kind), copy.deepcopy(sequence)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fcn_small": lambda: create_model("fcn_small", num_classes=3, in_channels=3, final_relu=False),
    "resnet9": lambda: create_model("resnet9", num_classes=3, in_channels=3, width=8),
    "residual": ResidualNet,
    "plain": plain_sequence,
    "added": lambda: blocks_of(lambda: Added(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())),
    "spectral": lambda: blocks_of(lambda: nn.Sequential(spectral_norm(nn.Conv2d(8, 8, 3, padding=1)), nn.ReLU())),
    "counting": lambda: blocks_of(Counting),
    **{f"{kind.__name__} first": partial(begins_in_place, kind) for kind in IN_PLACE},
}


def images_of(kind: str) -> Any:
    torch.manual_seed(1)
    sizes = [(23, 17), (18, 25), (9, 12), (11, 8)]
    images = [torch.rand(3, *size, dtype=torch.float64) for size in sizes]
    if kind == "tensor":
        return torch.stack([images[0]] * 4)
    if kind == "batch":
        return RaggedBatch.from_images(images)
    return RaggedGroup([RaggedBatch.from_images(images[:2]), RaggedBatch.from_images(images[2:])])


def step(model: nn.Module, images: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor]:
    torch.manual_seed(5)
    model.train()
    logits = model(images)
    cross_entropy(logits, torch.arange(4) % 3).total.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return logits.detach(), gradients, buffers, torch.rand(3)


@pytest.mark.parametrize("kind", ["tensor", "batch", "group"])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_changes(name: str, kind: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    checkpointed = copy.deepcopy(model)
    assert enable_checkpointing(checkpointed) >= 1
    expected = step(model, images_of(kind))
    found = step(checkpointed, images_of(kind))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    counts = [int(buffer) for buffer_name, buffer in found[2].items() if buffer_name.endswith("num_batches_tracked")]
    assert set(counts) <= {1}
    assert len(expected[1]) == len(list(model.parameters()))


def test_names_copies_and_evaluation() -> None:
    model = ResidualNet()
    names = list(model.state_dict())
    kinds = [type(module) for module in model.modules()]
    assert enable_checkpointing(model) == 4
    assert is_checkpointed(model)
    assert enable_checkpointing(model) == 0
    assert list(model.state_dict()) == names
    assert [type(module).__name__ for module in model.modules()] == [kind.__name__ for kind in kinds]
    assert isinstance(model.layer1[0], Block)
    assert [type(module).__qualname__ for module in model.modules()] == [kind.__qualname__ for kind in kinds]
    other = copy.deepcopy(model)
    assert is_checkpointed(other)
    with torch.no_grad():
        other.conv1.weight.zero_()
        other.layer1[0].conv1.weight.zero_()
    images = torch.rand(2, 3, 9, 9)
    own = model.eval()(images)
    assert not torch.equal(other.eval()(images), own)  # a copy runs on its own weights
    disable_checkpointing(model)
    assert [type(module) for module in model.modules()] == kinds
    assert not is_checkpointed(model)
    assert torch.equal(model(images), own)


def test_to_a_file_and_back() -> None:
    model = ResidualNet()
    enable_checkpointing(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    assert enable_checkpointing(other) == 0
    images = torch.rand(2, 3, 9, 9)
    assert torch.equal(other.eval()(images), model.eval()(images))
    disable_checkpointing(other)
    assert type(other.layer1[0]) is Block


def test_a_block_that_overwrites_its_input_unannounced() -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x *= 2
            return self.relu(self.conv(x))

    model = blocks_of(Adds)
    enable_checkpointing(model)
    for kind in ("tensor", "batch"):
        with pytest.raises(TrainingError) as raised:
            model(images_of(kind).float())
        assert str(raised.value) == (
            "the block Adds overwrites what it is called with, so activation checkpointing cannot run it a second "
            "time\nhint: --checkpointing off; or write x = x + y instead of x += y where the block begins"
        )


def test_the_activations_of_a_deep_network_are_not_kept() -> None:
    model = ResidualNet(blocks=8)
    images = torch.rand(2, 3, 128, 128)

    def work() -> None:
        model(images).sum().backward()

    work()
    before = traced_rise(work)
    enable_checkpointing(model)
    assert traced_rise(work) < 0.45 * before


def test_no_run_begins_with_a_layer_that_works_in_place() -> None:
    sequence = plain_sequence()[0]
    runs = _runs(sequence)
    assert [layer for run in runs for layer in run] == list(sequence)
    assert len(runs) > 2
    assert not any(getattr(run[0], "inplace", False) for run in runs)
    assert len(_runs(nn.Sequential(*list(sequence)[:6]))) == 1
