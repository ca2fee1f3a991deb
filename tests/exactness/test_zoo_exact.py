"""The library's own networks, and the promise as a user reads it: no image knows its partners."""

import itertools

import pytest
import torch
from torch import nn

from anysize.models import create_model
from anysize.ragged import RaggedBatch
from oracle import AWKWARD_SIZES, OneByOne, check_exact, random_images, randomise, relative_error

MODELS = {
    "fcn_small": {"final_relu": False},
    "resnet9": {"width": 4},
}


def model_named(name: str) -> nn.Module:
    return randomise(create_model(name, num_classes=3, in_channels=2, **MODELS[name]))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_network(name: str, training: bool) -> None:
    for sizes in AWKWARD_SIZES:
        check_exact(model_named(name), sizes, channels=2, training=training)
    for poison in (torch.nan, torch.inf, 1e30):
        check_exact(model_named(name), AWKWARD_SIZES[3], channels=2, training=training, poison=poison)


def test_smallest_images() -> None:
    check_exact(model_named("fcn_small"), ((4, 4), (5, 11), (7, 4)), channels=2, poison=torch.nan)
    for training in (True, False):
        # Alone after the last stride, most images are a single pixel.
        check_exact(
            model_named("resnet9"), ((1, 1), (1, 33), (20, 1), (16, 17)), channels=2, training=training,
            poison=torch.nan, tolerance=1e-11,
        )  # fmt: skip


def test_the_classic_form_with_its_final_relu() -> None:
    check_exact(randomise(create_model("fcn_small", num_classes=3, in_channels=1)), AWKWARD_SIZES[0], channels=1)


@pytest.mark.parametrize("name", MODELS)
def test_default_width_in_single_precision(name: str) -> None:
    single = randomise(create_model(name, num_classes=5, in_channels=3), seed=3)
    double = randomise(create_model(name, num_classes=5, in_channels=3), seed=3).double()
    double.load_state_dict({key: value.clone() for key, value in single.state_dict().items()})
    images = [image.float() for image in random_images(AWKWARD_SIZES[0], 3)]
    for training in (False, True):
        batch = RaggedBatch.from_images(images).to(memory_format=torch.channels_last)
        got = single.train(training)(batch)
        truth = double.train(training)(OneByOne([image.double()[None] for image in images]))
        expected = torch.cat(truth.images)
        assert relative_error(got.detach().double(), expected.detach()) <= 1e-5
        weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(0))
        single.zero_grad()
        double.zero_grad()
        (got * weights).sum().backward()
        (expected * weights).sum().backward()
        pairs = [(p.grad, q.grad) for p, q in zip(single.parameters(), double.parameters(), strict=True)]
        scale = max(float(true.abs().max()) for _, true in pairs)
        for mine, true in pairs:
            assert relative_error(mine.double(), true, scale) <= 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_does_not_depend_on_the_partners(name: str) -> None:
    model = model_named(name).double().eval()
    images = random_images(((17, 23), (31, 13), (8, 40), (19, 19), (6, 50)), 2)
    strangers = [image * 50.0 for image in random_images(((60, 5), (4, 4), (33, 70)), 2, seed=9)]
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images])
        orders = [*itertools.permutations(range(4))][::5]
        assert len(orders) == 5
        for order in orders:
            got = model(RaggedBatch.from_images([images[index] for index in order]))
            assert relative_error(got, alone[list(order)]) <= 1e-12
        for index, image in enumerate(images):
            for place in range(4):
                batch = [*strangers[:place], image, *strangers[place:]]
                got = model(RaggedBatch.from_images(batch))[place]
                assert relative_error(got, alone[index]) <= 1e-12
        on_large_canvas = model(RaggedBatch.from_images(images, canvas=(80, 96)))
        assert relative_error(on_large_canvas, alone) <= 1e-12


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_a_canvas_of_the_users_own_is_never_written_to(name: str, training: bool) -> None:
    model = model_named(name).train(training)
    for channels_last in (False, True):
        canvas = torch.randn(3, 2, 24, 30)
        canvas = canvas.contiguous(memory_format=torch.channels_last) if channels_last else canvas
        canvas[0, :, 20:] = 7.0
        before = canvas.clone()
        model(RaggedBatch(canvas, ((20, 30), (24, 9), (5, 5)))).sum().backward()
        assert torch.equal(canvas, before)
        leaf = canvas.requires_grad_()
        model(RaggedBatch(leaf, ((20, 30), (24, 9), (5, 5)))).sum().backward()
        assert torch.equal(leaf.detach(), before)
        assert float(leaf.grad[0, :, 20:].abs().max()) == 0.0
