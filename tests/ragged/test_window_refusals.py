"""What pools, paddings and resizing refuse, and the images that are too small for them."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anysize.errors import ImageSizeError, UnsupportedOperatorError
from anysize.ragged import RaggedBatch

HINT = "\nhint: batch images of one size together, or write a rule: anysize.register_rule(function)"
GIVEN = "was given a ragged batch: "
WHERE = "(height x width) where it reaches"
SMALLER = "\nhint: leave such images out, enlarge them, or use a model with a smaller stride"


def batch(*sizes: tuple[int, ...], channels: int = 4) -> RaggedBatch:
    return RaggedBatch.from_images([torch.randn(channels, *size) for size in sizes or ((5, 7), (8, 4))])


def refused(call: Any, error: type[Exception] = UnsupportedOperatorError) -> str:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


def test_resizing() -> None:
    name = f"torch.nn.functional.interpolate {GIVEN}"
    assert refused(lambda: F.interpolate(batch(), scale_factor=2, mode="linear")) == (
        f"{name}mode 'linear' has no exact rule{HINT}"
    )
    assert refused(lambda: F.interpolate(batch(), size=(3, 4, 5))) == (
        f"{name}its size (3, 4, 5) has 3 entries for 2 spatial axes{HINT}"
    )
    with pytest.raises(ValueError, match="either size or scale_factor should be defined"):
        F.interpolate(batch())
    with pytest.raises(ValueError, match="align_corners option can only be set"):
        F.interpolate(batch(), scale_factor=2, align_corners=True)


def test_images_that_vanish() -> None:
    assert refused(lambda: F.interpolate(batch((9, 9), (5, 3)), scale_factor=0.25), ImageSizeError) == (
        f"image 1 of the batch is 5x3 {WHERE} interpolate, which needs at least 4x4{SMALLER}"
    )
    assert refused(lambda: F.pad(batch((9, 9), (5, 3)), (-1, -2, 0, 0)), ImageSizeError) == (
        f"image 1 of the batch is 5x3 {WHERE} pad, which needs at least 1x4{SMALLER}"
    )
    weight = torch.randn(4, 2, 1, 2)
    assert refused(lambda: F.conv_transpose2d(batch((9, 9), (1, 5)), weight, padding=1), ImageSizeError) == (
        f"image 1 of the batch is 1x5 {WHERE} conv_transpose2d, which needs at least 3x2{SMALLER}"
    )


def test_images_without_the_pixels_that_are_copied() -> None:
    assert refused(lambda: F.pad(batch((9, 9), (5, 3)), (3, 1, 2, 2), mode="reflect"), ImageSizeError) == (
        f"image 1 of the batch is 5x3 {WHERE} pad, which needs at least 3x4{SMALLER}"
    )
    circular = nn.Conv2d(4, 4, 9, padding=4, padding_mode="circular")
    assert refused(lambda: circular(batch((9, 9), (3, 5))), ImageSizeError) == (
        f"image 1 of the batch is 3x5 {WHERE} pad in Conv2d, which needs at least 4x4{SMALLER}"
    )


def test_images_that_do_not_divide() -> None:
    assert refused(lambda: F.pixel_unshuffle(batch((6, 9), (6, 8)), 3), ImageSizeError) == (
        "image 1 of the batch is 6x8 where it reaches pixel_unshuffle, which needs multiples of 3\n"
        "hint: pad or crop it, for example to 6x9"
    )


def test_other_axes() -> None:
    assert refused(lambda: F.pixel_shuffle(batch((5,), (8,)), 2)) == (
        f"torch.nn.functional.pixel_shuffle {GIVEN}it works on images of two spatial axes, not of 1{HINT}"
    )
    assert refused(lambda: F.pad(batch(), (0, 0, 0, 0, 0, 0, 1, 0))) == (
        f"torch.nn.functional.pad {GIVEN}it puts images beside the images of the batch{HINT}"
    )


def test_positions_and_infinite_norms() -> None:
    assert refused(lambda: torch.adaptive_max_pool1d(batch((5,), (8,)), 2)) == (
        f"torch.adaptive_max_pool1d {GIVEN}it returns positions too; "
        f"torch.nn.functional.adaptive_max_pool1d does not{HINT}"
    )
    assert refused(lambda: F.adaptive_max_pool2d(batch(), 3, return_indices=True)).endswith(
        f"return_indices=True gives positions on the canvas, not on each image{HINT}"
    )
    assert refused(lambda: F.lp_pool2d(batch(), float("inf"), 2)) == (
        f"torch.nn.functional.lp_pool2d {GIVEN}an infinite norm is a maximum: use max_pool on the absolute values{HINT}"
    )


def test_ragged_weights() -> None:
    assert refused(lambda: F.conv_transpose2d(torch.randn(1, 2, 9, 9), batch())).endswith(
        f"{GIVEN}only its input may be ragged, not its weight{HINT}"
    )


def test_output_sizes_that_need_another_padding_for_each_image() -> None:
    """torch itself refuses them, before it asks for a rule."""
    half = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1)
    with pytest.raises(TypeError, match="argument 'output_padding'"):
        half(batch((5, 5), (4, 4)), output_size=batch((9, 9), (8, 8)).shape[2:])
