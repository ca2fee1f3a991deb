"""Policies of batch normalisation: what moves, what does not, and what a single value a channel does."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anysize.errors import TrainingError, UsageError
from anysize.memory import disable_checkpointing, enable_checkpointing
from anysize.models import create_model
from anysize.models.named import import_zoo
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.batch_norm import (
    apply_policy,
    batch_norms,
    freeze_batch_norm,
    frozen_layers,
    live_layers,
    single_value_layers,
    thaw_batch_norm,
)
from anysize.stepping.batch_norm_guard import BatchNormGuard
from oracle import OneByOne, check_exact, random_images, randomise, relative_error

SIZES = ((17, 23), (31, 13), (8, 40))


class Block(nn.Module):
    """A block of its own, so that activation checkpointing has something to do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(images)))


class Net(nn.Module):
    """Two blocks and an image-level pooling with batch normalisation behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(2), Block(6))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mix = nn.Conv2d(6, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Any) -> Any:
        maps = self.bn(self.mix(self.pool(self.blocks(images))))
        return self.fc(maps.flatten(1))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    model = Net()
    randomise(model, seed)
    return model


def buffers(model: nn.Module) -> dict[str, bytes]:
    return {name: buffer.numpy().tobytes() for name, buffer in model.named_buffers()}


def step(model: nn.Module, images: Any, lr: float = 0.1) -> None:
    """One update of everything that may be trained."""
    output = model(images)
    maps = output if isinstance(output, Tensor) else torch.cat([image.flatten() for image in output.unbind()])
    maps.square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
                parameter.grad = None


def ragged(num: int = 3) -> RaggedBatch:
    return RaggedBatch.from_images([image.float() for image in random_images(SIZES[:num], 2)])


INPUTS = {
    "tensor": lambda: torch.randn(3, 2, 12, 9),
    "ragged": ragged,
    "group": lambda: RaggedGroup([ragged(2), ragged(1)]),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("checkpointed", ["no", "before", "after"])
def test_frozen_statistics_are_bit_identical(kind: str, checkpointed: str) -> None:
    model, keys = net(), list(net().state_dict())
    if checkpointed == "before":
        assert enable_checkpointing(model) > 0
    names = freeze_batch_norm(model)
    if checkpointed == "after":
        assert enable_checkpointing(model) > 0
    assert names == frozen_layers(model) == ("blocks.0.bn", "blocks.1.bn", "bn")
    guard = BatchNormGuard(model)
    before, weight = buffers(model), model.blocks[0].bn.weight.detach().clone()
    for _ in range(3):
        model.train()
        assert model.training
        assert model.blocks[0].conv.training
        step(model, INPUTS[kind]())
    assert buffers(model) == before
    assert not torch.equal(model.blocks[0].bn.weight, weight), "affine parameters are trained"
    assert list(model.state_dict()) == keys
    guard.check(model)
    disable_checkpointing(model)
    assert frozen_layers(model) == names


def test_nothing_puts_a_frozen_layer_into_training() -> None:
    model = net()
    freeze_batch_norm(model)
    before = buffers(model)
    copies = [model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))]  # noqa: S301 - our own
    for other in copies:
        other.train()
        other.bn.train()
        other.bn.training = True
        other.apply(lambda module: module.train())
        step(other, torch.randn(4, 2, 8, 8))
        assert buffers(other) == before
        assert isinstance(other.bn, nn.BatchNorm2d)
        assert len(frozen_layers(other)) == 3
    assert type(copies[1].bn) is type(model.bn)


def test_frozen_through_a_file_of_weights() -> None:
    model = net()
    freeze_batch_norm(model)
    guard = BatchNormGuard(model)
    step(model.train(), torch.randn(4, 2, 8, 8))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    resumed = net(seed=1)
    freeze_batch_norm(resumed)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    again = BatchNormGuard(resumed, digests=guard.digests)
    assert again.digest == guard.digest
    step(resumed.train(), torch.randn(4, 2, 8, 8))
    again.check(resumed)
    assert buffers(resumed) == buffers(model)


def test_thawed_layers_are_torch_s_own_again() -> None:
    model, plain = net(), net()
    freeze_batch_norm(model, freeze_affine=True)
    assert not any(p.requires_grad for _, layer in batch_norms(model) for p in layer.parameters())
    model.train()
    assert thaw_batch_norm(model) == ("blocks.0.bn", "blocks.1.bn", "bn")
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    images = torch.randn(3, 2, 9, 9)
    plain.train()(images), model(images)
    assert buffers(model) == buffers(plain)


def test_some_layers_only() -> None:
    model = net().train()
    assert freeze_batch_norm(model, ["bn"]) == ("bn",)
    before = buffers(model)
    step(model, torch.randn(3, 2, 9, 9))
    moved = {name for name, content in buffers(model).items() if content != before[name]}
    assert {name.rpartition(".")[0] for name in moved} == {"blocks.0.bn", "blocks.1.bn"}


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm])
def test_every_kind_of_torch(layer: Any) -> None:
    model = nn.Sequential(layer(4))
    freeze_batch_norm(model)
    axes = {nn.BatchNorm1d: 1, nn.BatchNorm3d: 3}.get(layer, 2)
    images = [torch.randn(4, *(5 + i for i in range(axes))) for _ in range(2)]
    before = buffers(model)
    model.train()(RaggedBatch.from_images(images))
    if layer is not nn.SyncBatchNorm:  # torch has none on CPUs
        model(torch.stack(images))
    assert buffers(model) == before


def test_layers_of_timm_keep_their_activation() -> None:
    timm = import_zoo("timm")
    model = timm.create_model("efficientnet_lite0", num_classes=3)
    kinds = {type(layer).__name__ for _, layer in batch_norms(model)}
    assert "BatchNormAct2d" in kinds
    images = torch.randn(2, 3, 40, 40)
    expected = model.eval()(images)
    enable_checkpointing(model)  # single layers with an activation inside are blocks of their own
    freeze_batch_norm(model)
    before = buffers(model)
    model.train()
    model(images).sum().backward()
    assert buffers(model) == before
    disable_checkpointing(model)
    assert len(frozen_layers(model)) == len(dict(batch_norms(model)))
    assert torch.equal(model.eval()(images), expected)


def test_the_guard_names_what_moved() -> None:
    model = net().train()
    guard = BatchNormGuard(model, layers=["blocks.1.bn", "bn"])
    for module in (model.blocks[1].bn, model.bn):
        module.eval()  # how it is frozen elsewhere
    step(model, torch.randn(3, 2, 9, 9))
    guard.check(model)
    model.train()  # and what becomes of it
    step(model, torch.randn(3, 2, 9, 9))
    with pytest.raises(TrainingError) as caught:
        guard.check(model)
    assert caught.value.message == (
        "batch normalisation blocks.1.bn is frozen, and its running_mean, running_var, num_batches_tracked moved "
        "(and 1 more layers: bn)"
    )
    with pytest.raises(TrainingError, match=r"batch normalisation blocks.1.bn is frozen"):
        BatchNormGuard(model, digests=guard.digests)


def test_the_guard_sees_a_single_bit_and_a_layer_that_is_gone() -> None:
    model = net()
    freeze_batch_norm(model)
    guard = BatchNormGuard(model)
    model.bn.running_mean[1] = torch.nextafter(model.bn.running_mean[1], torch.tensor(9.0))
    with pytest.raises(TrainingError, match=r"^batch normalisation bn is frozen, and its running_mean moved\n"):
        guard.check(model)
    model.bn = nn.Identity()
    with pytest.raises(TrainingError, match=r"^batch normalisation bn is frozen"):
        guard.check(model)


@pytest.mark.parametrize("policy", ["train", "recalibrate"])
@pytest.mark.parametrize("kind", ["tensor", "ragged", "group"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_one_value_a_channel_uses_the_running_statistics(policy: str, kind: str, checkpointed: bool) -> None:
    (image,) = (image.float() for image in random_images(((11, 14),), 2))
    batch = RaggedBatch.from_images([image])
    images = {"tensor": image[None], "ragged": batch, "group": RaggedGroup([batch])}[kind]
    bare = net().train()
    with pytest.raises(ValueError, match=r"Expected more than 1 value per channel|needs two or more"):
        bare(images)
    model, truth = net().train(), net().train()
    truth.bn.eval()  # the stated semantics, by torch
    expected = truth(image[None])
    expected.square().sum().backward()
    apply_policy(model, policy)
    if checkpointed:
        enable_checkpointing(model)
    found = model(images)
    found.square().sum().backward()
    assert relative_error(found.detach(), expected.detach()) < 1e-5
    for mine, its in zip(model.parameters(), truth.parameters(), strict=True):
        assert torch.allclose(mine.grad, its.grad, rtol=1e-3, atol=1e-4)
    for (name, mine), its in zip(model.named_buffers(), truth.buffers(), strict=True):
        assert torch.allclose(mine, its, atol=1e-6), name  # the layers before it have moved, once
    assert model.bn.num_batches_tracked == 0
    assert model.blocks[0].bn.num_batches_tracked == 1
    assert single_value_layers(model) == ("bn",)
    model(images)
    assert single_value_layers(model) == (), "told once"
    assert model.bn.training


def test_train_moves_statistics_as_torch_does() -> None:
    model, plain = net().train(), net().train()
    assert apply_policy(model, "train") == live_layers(model)
    for seed in range(2):
        torch.manual_seed(seed)
        images = torch.randn(3, 2, 9, 9)
        assert torch.equal(model(images), plain(images))
    assert buffers(model) == buffers(plain)
    assert single_value_layers(model) == ()


@pytest.mark.parametrize("policy", ["train", "frozen"])
def test_ragged_is_one_by_one(policy: str) -> None:
    model = net()
    apply_policy(model, policy)
    check_exact(model, SIZES, channels=2, poison=float("nan"))
    model.double().train()
    before = buffers(model)
    model(OneByOne([image[None] for image in random_images(SIZES, 2)]))
    assert (buffers(model) == before) == (policy == "frozen")


@pytest.mark.parametrize("policy", ["train", "frozen"])
def test_compiled(policy: str) -> None:
    model = net().train()
    apply_policy(model, policy)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")
    for images in (torch.randn(3, 2, 8, 8), torch.randn(1, 2, 8, 8), ragged(1)):
        assert torch.allclose(compiled(images), eager(images), atol=1e-5)
    for mine, its in zip(model.buffers(), eager.buffers(), strict=True):
        assert torch.allclose(mine, its, atol=1e-5)


def test_a_step_of_one_image_with_deeplab() -> None:
    model = create_model(
        "deeplabv3plus", num_classes=3, in_channels=2, encoder="resnet18", encoder_width=1.0, channels=8
    )
    apply_policy(model, "train")
    batch = RaggedBatch.from_images([torch.randn(2, 37, 50)])
    step(model.train(), batch)
    (name,) = single_value_layers(model)
    assert name.startswith("decoder.aspp.0.convs.4.")


def test_errors() -> None:
    model = net()
    with pytest.raises(
        UsageError, match=r"^batch_norm is 'froze'; it must be one of train, frozen, recalibrate, group$"
    ):
        apply_policy(model, "froze")
    with pytest.raises(UsageError, match=r"^the policy 'group' is no setting of batch normalisation"):
        apply_policy(model, "group")
    message = "^the network has no batch normalisation named fc; it has blocks.0.bn, blocks.1.bn, bn$"
    with pytest.raises(UsageError, match=message):
        freeze_batch_norm(model, ["fc"])
    with pytest.raises(UsageError, match=r"^0 has no running statistics, so there is nothing to freeze it at\n"):
        freeze_batch_norm(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)))
    with pytest.raises(UsageError, match=r"^the network has no batch normalisation named x$"):
        BatchNormGuard(model, layers=["x"])
