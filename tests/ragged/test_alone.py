"""The truth that `verify` compares with agrees with the tests' own, and changes nothing but what training changes."""

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anysize.errors import RaggedError
from anysize.ragged.verification.alone import run_alone
from oracle import OneByOne, random_images, randomise, relative_error

SIZES = ((17, 23), (31, 13), (8, 40))


def small_net(**norm: Any) -> nn.Module:
    return randomise(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, **norm), nn.ReLU(inplace=True),
            nn.Conv2d(4, 3, 3, stride=2), nn.BatchNorm2d(3, **norm), nn.ReLU(inplace=True),
        )
    ).double()  # fmt: skip


@pytest.mark.parametrize("norm", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_training_is_the_oracles(norm: dict[str, Any]) -> None:
    models = [small_net(**norm), small_net(**norm)]
    leaves = [random_images(SIZES, 2, requires_grad=True) for _ in models]
    outputs = [
        run_alone(models[0], leaves[0]),
        models[1](OneByOne([image[None] for image in leaves[1]])).images,
    ]
    for maps in outputs:
        sum((value * value.detach().cos()).sum() for value in maps).backward()
    pairs = list(zip(*outputs, strict=True))
    pairs += [(mine.grad, true.grad) for mine, true in zip(*leaves, strict=True)]
    pairs += [(m.grad, t.grad) for m, t in zip(models[0].parameters(), models[1].parameters(), strict=True)]
    pairs += list(zip(models[0].buffers(), models[1].buffers(), strict=True))  # num_batches_tracked among them
    assert len(pairs) >= 8
    for mine, true in pairs:
        assert mine.shape == true.shape
        assert relative_error(mine.detach().double(), true.detach().double()) <= 1e-12
    if norm.get("track_running_stats", True):
        assert int(models[0][1].num_batches_tracked) == 1


def test_a_layer_that_is_called_twice_counts_twice() -> None:
    norm = nn.BatchNorm2d(2).double()
    model = nn.Sequential(norm, nn.ReLU(), norm)
    run_alone(model, random_images(SIZES, 2))
    assert int(norm.num_batches_tracked) == 2


@pytest.mark.parametrize("norm", [{}, {"track_running_stats": False}])
def test_evaluation_is_one_call_an_image(norm: dict[str, Any]) -> None:
    model = small_net(**norm).eval()
    images = random_images(SIZES, 2)
    before = copy.deepcopy(model.state_dict())
    for value, image in zip(run_alone(model, images), images, strict=True):
        assert torch.equal(value, model(image[None]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_threads_have_the_callers_gradient_mode_and_autocast() -> None:
    model = small_net().float()
    images = [image.float() for image in random_images(SIZES, 2)]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = run_alone(nn.Sequential(model, nn.Conv2d(3, 1, 1)), images)
    assert not any(output.requires_grad for output in outputs)
    assert {output.dtype for output in outputs} == {torch.bfloat16}


class Picky(nn.Module):
    """Fails, or leaves normalisation out, for narrow images."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2)]).double()
        self.fault = fault

    def forward(self, images: Tensor) -> Tensor:
        images = self.norms[0](images)
        if images.shape[3] < 15:
            if self.fault == "raise":
                raise LookupError("too narrow")
            return images
        return self.norms[1](images)


def test_where_an_image_fails_all_threads_end() -> None:
    before = threading.active_count()
    with pytest.raises(LookupError, match=r"^too narrow$"):
        run_alone(Picky("raise"), random_images(SIZES, 2))
    assert threading.active_count() == before


def test_images_must_meet_equally_often() -> None:
    before = threading.active_count()
    with pytest.raises(RaggedError) as caught:
        run_alone(Picky("skip"), random_images(SIZES, 2))
    assert str(caught.value) == (
        "image 1 of 3 reaches batch normalisation less often than others; alone and in training, all images must reach "
        "it equally often\n"
        "hint: verify with sizes for which the model does the same, or with training=False"
    )
    assert threading.active_count() == before
