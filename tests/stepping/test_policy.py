"""Which policy is chosen, and what is said of it."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from anysize.models import create_model
from anysize.stepping.policy import ENOUGH_IMAGES, FEW_IMAGES, choose_policy, trained_layers
from anysize.stepping.recalibration import recalibrate

SIZES = [(40, 50)] * 60


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("batch_size", "pretrained", "expected"),
    [
        (32, True, "train"),
        (ENOUGH_IMAGES, False, "train"),
        (ENOUGH_IMAGES - 1, True, "frozen"),
        (1, True, "frozen"),
        (ENOUGH_IMAGES - 1, False, "recalibrate"),
        (FEW_IMAGES, False, "recalibrate"),
        (FEW_IMAGES - 1, False, "group"),
        (1, False, "group"),
    ],
)
def test_by_images_and_what_is_pretrained(batch_size: int, pretrained: bool, expected: str) -> None:
    policy, reason = choose_policy(net(), SIZES, batch_size=batch_size, pretrained=pretrained)
    assert policy == expected
    assert reason.startswith(f"statistics of {batch_size} image")


def test_what_goes_through_at_once_is_what_counts() -> None:
    assert choose_policy(net(), SIZES, batch_size=32, pretrained=False, max_pixels=40 * 50 * 10)[0] == "recalibrate"
    assert choose_policy(net(), SIZES, batch_size=32, pretrained=True, max_pixels=100)[0] == "frozen"
    assert choose_policy(net(), SIZES[:1], batch_size=32, pretrained=False)[0] == "group"


def test_images_of_different_sizes_are_worth_fewer_of_one_size() -> None:
    one_size, mixed = [(100, 100)] * 60, [(10, 10)] * 45 + [(300, 300)] * 15
    areas = np.array([height * width for height, width in mixed], np.float64)
    draws = np.random.default_rng(0).choice(len(areas), (50_000, 6))
    values = np.random.default_rng(1).standard_normal(draws.shape)  # of each image: its mean
    # A mean over pixels, to the first order of a ratio: over the number of pixels that is expected.
    means = (values * areas[draws]).sum(axis=1) / (6 * areas.mean())
    policy, reason = choose_policy(net(), mixed, batch_size=6, pretrained=False)
    said = re.search(r"statistics of 6 images of different sizes, worth ([0-9.]+) of one size", reason)
    assert said is not None
    assert float(said[1]) == pytest.approx(values.var() / means.var(), abs=0.1)
    assert policy == "group"  # 6 of one size would be recalibrated
    assert "worth" not in choose_policy(net(), one_size, batch_size=8, pretrained=False)[1]
    assert choose_policy(net(), one_size, batch_size=16, pretrained=True)[0] == "train"
    assert choose_policy(net(), mixed, batch_size=16, pretrained=True)[0] == "frozen"
    assert choose_policy(net(), np.array(mixed), batch_size=16, pretrained=True)[0] == "frozen"


def test_the_reason_has_the_figures() -> None:
    policy, reason = choose_policy(net(), SIZES, batch_size=16, pretrained=False)
    assert policy == "train"
    assert reason == (
        "statistics of 16 images, 8,000 values a channel at 1 (their variance is off by about 11%), 16 values behind "
        "the image-level pooling (5), enough for statistics of the batch"
    )
    assert choose_policy(nn.Sequential(nn.Conv2d(3, 2, 1)), SIZES, batch_size=1, pretrained=False) == (
        "train",
        "the network has no batch normalisation",
    )


def test_a_network_that_takes_no_meta_tensors_is_chosen_for_all_the_same() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.bn(images) if float(images.sum()) > 0 else images

    assert choose_policy(Asks(), SIZES, batch_size=16, pretrained=False) == (
        "train",
        "statistics of 16 images (their variance is off by about 11%), enough for statistics of the batch",
    )


def test_new_layers_are_told_from_trained_ones() -> None:
    model = create_model("deeplabv3plus", num_classes=2, encoder="resnet18", channels=8)
    assert trained_layers(model) == ()
    recalibrate(model.encoder, [torch.randn(2, 3, 32, 32)], forward=lambda encoder, images: encoder.pyramid(images))
    names = trained_layers(model)
    assert len(names) == 20
    assert all(name.startswith("encoder.") for name in names)
