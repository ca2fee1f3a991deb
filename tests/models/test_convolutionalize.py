"""A dense head as convolutions: the same answers at the native size, every window's answer on larger images."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anysize.models import create_model
from anysize.models.convolutional import convolutionalize
from anysize.models.named import import_zoo
from anysize.ragged import verify
from oracle import randomise


def lenet(padding: int = 0) -> nn.Sequential:
    """LeNet-5 of 1998 with the layers of today; the smallest square that it takes is 32x32, or 28x28 with padding."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 12),
        nn.BatchNorm1d(12),
        nn.ReLU(inplace=True),
        nn.Linear(12, 7, bias=False),
        nn.LogSoftmax(dim=-1),
    )


class Functional(nn.Module):
    """As many write it: everything but the weights within ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.fc1 = nn.Linear(4 * 7 * 7, 9)
        self.fc2 = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = x.view(x.size(0), -1)
        x = F.dropout(F.relu(self.fc1(x)), 0.25, training=self.training)
        return self.fc2(x)


class Branches(nn.Module):
    """Two maps joined before the flattening, one used twice, and the flattening spelled with a number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3)
        self.left = nn.Conv2d(3, 2, 1)
        self.fc = nn.Linear(5 * 6 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        maps = torch.cat([x, self.left(x).sigmoid()], 1)
        return self.fc(maps.reshape(-1, 180))


def with_head(*head: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), *head)


class SpatialMean(nn.Module):
    def __init__(self, mean: Callable[[Tensor], Tensor], features: int = 4) -> None:
        super().__init__()
        self.mean = mean
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.fc = nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.mean(self.features(x)))


def pooled(pool: Callable[[Tensor], Tensor]) -> nn.Module:
    """With ceil_mode in ``pool``, whose windows fit at 16x16 pixels, and are cut at 15x15."""
    return SpatialMean(lambda x: pool(x).flatten(1), features=4 * 7 * 7)


def dense(**options: int) -> nn.Module:
    return create_model("mnist_dense", num_classes=4, in_channels=1, **options)


# A network without padding, its native size (None: found), and how far apart its windows are.
WITHOUT_PADDING: dict[str, tuple[Callable[[], nn.Module], Any, tuple[int, int], int]] = {
    "lenet": (lenet, None, (32, 32), 4),
    "lenet_larger": (lenet, (33, 35), (32, 32), 4),  # floors to the same map
    "lenet_oblong": (lambda: with_head(nn.Flatten(), nn.Linear(4 * 3 * 6, 5)), (7, 10), (7, 10), 1),
    "mnist_dense": (lambda: dense(image_size=9), None, (9, 9), 1),
    "functional": (Functional, None, (29, 29), 4),
    "branches": (Branches, None, (8, 8), 1),
    "own_grid": (
        lambda: with_head(nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(36, 5)), None, (7, 7), 1
    ),
    "coarse_grid": (
        lambda: with_head(nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(), nn.Linear(24, 5)), (16, 12), (16, 12), 4
    ),
    "coarse_maximum": (
        lambda: with_head(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)), 10, (10, 10), 3
    ),
    "global_average": (
        lambda: with_head(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)), (9, 7), (9, 7), 1
    ),
    "global_maximum": (
        lambda: with_head(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)), (9, 7), (9, 7), 1
    ),
    "mean": (lambda: SpatialMean(lambda x: x.mean((2, 3))), (9, 7), (9, 7), 1),
    "kept_mean": (lambda: SpatialMean(lambda x: torch.mean(x, [-2, -1], keepdim=True).flatten(1)), 9, (9, 9), 1),
    "functional_pool": (lambda: SpatialMean(lambda x: torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)), 9, (9, 9), 1),
    "whole_pool": (
        lambda: with_head(nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(4 * 36, 3)), 16, (16, 16), 2
    ),
    "whole_functional_pool": (lambda: pooled(lambda x: F.max_pool2d(x, 2, ceil_mode=True)), 16, (16, 16), 2),
    "whole_functional_average": (lambda: pooled(lambda x: F.avg_pool2d(x, 2, 2, 0, True)), 16, (16, 16), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_PADDING)
def test_without_padding_it_is_every_window_alone(name: str) -> None:
    build, size, native, stride = WITHOUT_PADDING[name]
    model = randomise(build().double()).eval()
    heat = convolutionalize(model, size=size)
    images = torch.randn(2, 1, native[0] + 2 * stride + 1, native[1] + 3 * stride, dtype=torch.float64)
    maps = heat(images)
    if not isinstance(model, nn.Sequential) or "coarse" not in name:
        assert maps.shape[2:] == (3, 4) if stride > 1 else maps.shape[2:] == (4, 4)
    compared = 0
    for row in range(maps.shape[2]):
        for column in range(maps.shape[3]):
            top, left = row * stride, column * stride
            window = images[:, :, top : top + native[0], left : left + native[1]]
            torch.testing.assert_close(maps[:, :, row, column], model(window), rtol=1e-12, atol=1e-12)
            compared += 1
    assert compared >= 4
    at_native = heat(images[:, :, : native[0], : native[1]])
    assert at_native.shape[2:] == (1, 1)


@pytest.mark.parametrize("name", ["lenet", "mnist_dense", "functional", "own_grid", "coarse_grid", "global_average"])
def test_exact(name: str) -> None:
    """On ragged batches, in evaluation and in training (batch statistics over all positions of all images)."""
    build, size, native, stride = WITHOUT_PADDING[name]
    heat = convolutionalize(build().double(), size=size)
    sizes = [(native[0] + a * stride, native[1] + b * stride) for a, b in ((3, 0), (1, 5), (2, 2))]
    report = verify(heat, sizes=sizes, dtype=torch.float64)
    assert report.exact, str(report)
    assert {entry.mode for entry in report.entries} == {"evaluation", "training"}


def test_gradients_are_the_models() -> None:
    model = randomise(lenet().double()).train()
    model[6].p = 0.0
    heat = convolutionalize(model)
    assert heat.training
    images = torch.randn(3, 1, 32, 32, dtype=torch.float64)
    weights = torch.randn(3, 7, dtype=torch.float64)
    (model(images) * weights).sum().backward()
    (heat(images)[:, :, 0, 0] * weights).sum().backward()
    mine = dict(heat.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(mine[name].grad.reshape(parameter.shape), parameter.grad, rtol=1e-11, atol=1e-11)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(heat.get_buffer(name), buffer)


def test_the_model_stays_and_the_state_dict_has_its_names() -> None:
    model = lenet()
    model[8].weight.requires_grad_(False)
    model[0].eval()
    before = copy.deepcopy(model.state_dict())
    heat = convolutionalize(model)
    assert type(model[8]) is nn.Linear
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    state = heat.state_dict()
    assert list(state) == list(before)
    assert state["8.weight"].shape == (12, 16, 5, 5)
    assert not heat.get_parameter("8.weight").requires_grad
    assert heat.get_parameter("11.weight").requires_grad
    assert (heat.training, heat.get_submodule("0").training, heat.get_submodule("8").training) == (True, False, True)
    pointers = {parameter.data_ptr() for parameter in model.parameters()}
    assert not pointers & {parameter.data_ptr() for parameter in heat.parameters()}
    another = convolutionalize(lenet())
    another.load_state_dict(state)
    images = torch.randn(1, 1, 40, 45)
    torch.testing.assert_close(another.eval()(images), heat.eval()(images), rtol=0, atol=0)


def test_functional_dropout_follows_the_mode() -> None:
    heat = convolutionalize(Functional().eval())
    images = torch.randn(1, 1, 40, 40)
    torch.testing.assert_close(heat(images), heat(images), rtol=0, atol=0)
    assert not torch.equal(heat.train()(images), heat(images))


class Dropping(nn.Module):
    def __init__(self, drop: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.drop = drop
        self.conv = nn.Conv2d(1, 64, 3)
        self.fc = nn.Linear(64 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.conv(x), self.training).flatten(1))


DROPOUTS: dict[str, tuple[Callable[[Tensor, bool], Tensor], type[nn.Module]]] = {
    "dropout": (lambda x, training: F.dropout(x, 0.25 if training else 0.0, training), nn.Dropout),
    "dropout2d": (lambda x, training: F.dropout2d(x, 0.25, training), nn.Dropout2d),
    "alpha_dropout": (lambda x, training: F.alpha_dropout(x, p=0.25, training=training), nn.AlphaDropout),
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_every_functional_dropout_drops_in_training(name: str) -> None:
    """As the model does: the same numbers from the same seed."""
    drop, kind = DROPOUTS[name]
    model = Dropping(drop).eval()
    heat = convolutionalize(model)
    images = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(heat(images)[:, :, 0, 0], model(images))
    assert [type(module) for module in heat.modules() if hasattr(module, "p")] == [kind]
    answers = []
    for network in (model.train(), heat.train()):
        torch.manual_seed(3)
        answers.append(network(images).flatten(1))
    torch.testing.assert_close(*answers)
    assert not torch.allclose(answers[0], model.eval()(images))


def test_shared_weights_stay_shared() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    heat = convolutionalize(with_head(nn.Flatten(), nn.Linear(4 * 9, 3), first, second))
    assert heat.get_parameter("4.weight") is heat.get_parameter("5.weight")


def narrow_vgg(padding: int = 1) -> nn.Module:
    """torchvision's VGG, whose flattening is within ``forward``, with few channels."""
    vgg = import_zoo("torchvision").models.vgg
    with torch.device("meta"):
        model = vgg.VGG(nn.Identity(), init_weights=False)
    model.features = vgg.make_layers([4, "M", 6, "M", 8, 8, "M"], batch_norm=True)
    model.classifier = nn.Sequential(
        nn.Linear(8 * 7 * 7, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(True), nn.Linear(16, 5)
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (padding, padding)
    return randomise(model.double()).eval()


@pytest.mark.parametrize("padding", [0, 1])
def test_torchvision_vgg(padding: int) -> None:
    model = narrow_vgg(padding)
    heat = convolutionalize(model)
    native = 56 if padding else 78  # 8 * 7, and what the convolutions without padding take
    images = torch.randn(2, 3, native + 24, native + 16, dtype=torch.float64)
    maps = heat(images)
    assert maps.shape == (2, 5, 4, 3)
    windows = torch.stack(
        [
            torch.stack([model(images[:, :, y : y + native, x : x + native]) for x in range(0, 17, 8)], -1)
            for y in range(0, 25, 8)
        ],
        -2,
    )
    error = float(((maps - windows).norm() / windows.norm()).detach())
    # With padding a window alone sees zeros where the whole image has pixels.
    assert 0.05 < error < 1.0 if padding else error < 1e-13
    torch.testing.assert_close(heat(images[:, :, :native, :native])[:, :, 0, 0], windows[:, :, 0, 0])
    report = verify(heat, sizes=[(native, native + 17), (native + 9, native)], dtype=torch.float64)
    assert report.exact, str(report)


@pytest.mark.slow
def test_vgg16_padding_as_measured() -> None:
    """The figure of the docstring: 35 to 41 % (root mean square)."""
    torch.manual_seed(0)
    model = import_zoo("torchvision").models.vgg16(weights=None, num_classes=10).eval()
    heat = convolutionalize(model)
    image = torch.randn(1, 3, 288, 288)
    with torch.no_grad():
        maps = heat(image)[0]
        windows = [model(image[:, :, y : y + 224, x : x + 224])[0] for y in (0, 32, 64) for x in (0, 32, 64)]
    windows = torch.stack(windows, 1).reshape(10, 3, 3)
    assert maps.shape == windows.shape
    assert 0.25 < float((maps - windows).norm() / windows.norm()) < 0.5


@pytest.mark.slow
def test_torchvision_alexnet() -> None:
    model = import_zoo("torchvision").models.alexnet(weights=None, num_classes=10).eval()
    heat = convolutionalize(model)
    assert heat.get_parameter("classifier.1.weight").shape == (4096, 256, 6, 6)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(heat(images)[:, :, 0, 0], model(images), rtol=1e-4, atol=1e-5)
        assert heat(torch.randn(1, 3, 300, 256)).shape == (1, 10, 3, 2)
