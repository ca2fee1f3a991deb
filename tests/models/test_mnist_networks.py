"""The three networks for digits: what they hold, what they compute, and which sizes they take."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from anysize.errors import ImageSizeError, UsageError
from anysize.models import create_model
from anysize.ragged import RaggedBatch, verify

COUNTS = {"mnist_dense": 2_770_634, "mnist_fcn": 55_338, "mnist_anysize": 5_130}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameters(name: str, count: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=10, in_channels=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def dense(images: Tensor, weights: dict[str, Tensor]) -> Tensor:
    patches = images.unfold(2, 3, 1).unfold(3, 3, 1)  # (B, C, 26, 26, 3, 3)
    maps = torch.einsum("bchwij,kcij->bkhw", patches, weights["conv.weight"]) + weights["conv.bias"][:, None, None]
    hidden = maps.clamp(min=0).reshape(len(images), -1) @ weights["dense1.weight"].T + weights["dense1.bias"]
    return hidden.clamp(min=0) @ weights["dense2.weight"].T + weights["dense2.bias"]


def layer(images: Tensor, weights: dict[str, Tensor], name: str, padding: int) -> Tensor:
    weight = weights[f"{name}.weight"]
    padded = F.pad(images, [padding] * 4)
    patches = padded.unfold(2, weight.shape[2], 1).unfold(3, weight.shape[3], 1)
    return torch.einsum("bchwij,kcij->bkhw", patches, weight) + weights[f"{name}.bias"][:, None, None]


def halved(maps: Tensor) -> Tensor:
    return maps.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))


def fcn(images: Tensor, weights: dict[str, Tensor]) -> Tensor:
    maps = halved(layer(images, weights, "features.0", 1).clamp(min=0))
    maps = halved(layer(maps, weights, "features.3", 1).clamp(min=0))
    return layer(layer(maps, weights, "head.0", 0).clamp(min=0), weights, "head.2", 0)


def any_size(images: Tensor, weights: dict[str, Tensor]) -> Tensor:
    maps = layer(images, weights, "features.0", 1).clamp(min=0)
    strongest = layer(maps, weights, "features.2", 1).clamp(min=0).amax((2, 3))
    return strongest @ weights["head.weight"][:, :, 0, 0].T + weights["head.bias"]


@pytest.mark.parametrize(
    ("name", "truth", "sizes"),
    [
        ("mnist_dense", dense, [(28, 28)]),
        ("mnist_fcn", lambda images, weights: fcn(images, weights)[:, :, 0, 0], [(28, 28), (31, 29)]),
        ("mnist_fcn", fcn, [(28, 32), (45, 37)]),
        ("mnist_anysize", any_size, [(28, 28), (1, 1), (1, 7), (33, 12)]),
    ],
)
def test_values(name: str, truth: object, sizes: list[tuple[int, int]]) -> None:
    model = create_model(name, num_classes=10, in_channels=2).double()
    for size in sizes:
        images = torch.randn(3, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(model(images), truth(images, model.state_dict()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("mnist_dense", {"image_size": 12}, [(12, 12)] * 3),
        ("mnist_fcn", {}, [(28, 31), (31, 30), (29, 28)]),
        ("mnist_fcn", {}, [(33, 47), (61, 32), (40, 40)]),
        ("mnist_fcn", {"average": True}, [(28, 28), (33, 47), (61, 30)]),
        ("mnist_anysize", {}, [(1, 1), (28, 28), (3, 40), (17, 5)]),
    ],
)
def test_exact(name: str, options: dict[str, int], sizes: list[tuple[int, int]]) -> None:
    report = verify(create_model(name, num_classes=4, in_channels=2, **options), sizes=sizes, dtype=torch.float64)
    assert report.exact, str(report)
    assert {entry.mode for entry in report.entries} == {"evaluation", "training"}
    assert max(entry.error for entry in report.entries) < 1e-13


def test_maps_beside_single_answers() -> None:
    """Next to a larger image a small one keeps its map of one answer."""
    model = create_model("mnist_fcn", num_classes=3, in_channels=1).double()
    images = [torch.randn(1, *size, dtype=torch.float64) for size in ((28, 28), (44, 33), (31, 29))]
    maps = model(RaggedBatch.from_images(images)).unbind()
    assert [tuple(image.shape) for image in maps] == [(3, 1, 1), (3, 5, 2), (3, 1, 1)]
    for image, answers in zip(images, maps, strict=True):
        alone = model(image[None])[0]
        torch.testing.assert_close(answers, alone.reshape(answers.shape), rtol=1e-12, atol=1e-12)


def test_average_is_the_mean_of_the_map() -> None:
    images = torch.randn(2, 1, 45, 37)
    torch.manual_seed(0)
    maps = create_model("mnist_fcn", num_classes=3, in_channels=1)
    torch.manual_seed(0)
    mean = create_model("mnist_fcn", num_classes=3, in_channels=1, average=True)
    assert set(mean.state_dict()) == set(maps.state_dict())
    torch.testing.assert_close(mean(images), maps(images).mean((2, 3)))


REFUSAL = (
    "mnist_dense was given images of {} (height x width); its dense layer has a weight for every pixel, so it takes "
    "28x28 alone, and never mixed sizes\n"
    "hint: resize the images to 28x28; or anysize.convolutionalize(model) for larger images with the same weights; or "
    "a network for any size, such as mnist_anysize"
)


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (lambda: torch.zeros(2, 1, 28, 30), "28x30"),
        (lambda: torch.zeros(1, 29, 28), "29x28"),
        (
            lambda: RaggedBatch.from_images([torch.zeros(1, 28, 28), torch.zeros(1, 28, 29)]),
            "28x28, 28x29",
        ),
        (
            lambda: RaggedBatch.from_images([torch.zeros(1, 27, 29), torch.zeros(1, 27, 29)]),
            "27x29, 27x29",
        ),
        (
            lambda: RaggedBatch.from_images([torch.zeros(1, 28, 21 + i) for i in range(9)]),
            "28x21, 28x22, 28x23, 28x24, 28x25, 28x26, 28x27, 28x28, ...",
        ),
    ],
)
def test_other_sizes_are_refused(images: object, received: str) -> None:
    model = create_model("mnist_dense", num_classes=10, in_channels=1)
    with pytest.raises(ImageSizeError) as caught:
        model(images())
    assert str(caught.value) == REFUSAL.format(received)


def test_another_fixed_size() -> None:
    model = create_model("mnist_dense", num_classes=3, in_channels=1, image_size=9)
    assert model.dense1.in_features == 32 * 7 * 7
    assert model(torch.zeros(2, 1, 9, 9)).shape == (2, 3)
    on_a_larger_canvas = RaggedBatch.from_images([torch.ones(1, 9, 9)] * 2, canvas=(12, 10))
    torch.testing.assert_close(model(on_a_larger_canvas), model(torch.ones(2, 1, 9, 9)))


@pytest.mark.parametrize("side", [-3, 0, 1, 2])
def test_too_small_for_the_convolution(side: int) -> None:
    with pytest.raises(UsageError) as caught:
        create_model("mnist_dense", num_classes=3, in_channels=1, image_size=side)
    assert str(caught.value) == f"image_size is {side}; it must be at least 3"


def test_the_smallest() -> None:
    model = create_model("mnist_dense", num_classes=3, in_channels=1, image_size=3).double()
    images = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(model(images), dense(images, model.state_dict()), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_compiled_maps() -> None:
    """While it is traced no size is known, so every ragged batch gets maps; an ordinary one is told apart."""
    torch.compiler.reset()
    model = create_model("mnist_fcn", num_classes=3, in_channels=1).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    images = [torch.rand(1, *size) for size in ((28, 28), (44, 33))]
    with torch.no_grad():
        maps, expected = (network(RaggedBatch.from_images(images)).unbind() for network in (compiled, model))
        for mine, truth in zip(maps, expected, strict=True):
            torch.testing.assert_close(mine, truth)
        assert [tuple(m.shape) for m in compiled(RaggedBatch.from_images(images[:1])).unbind()] == [(3, 1, 1)]
        for image in images:
            torch.testing.assert_close(compiled(image[None]), model(image[None]))
