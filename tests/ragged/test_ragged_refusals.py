"""Exact or refused: every refusal says what was given, where, and what to do."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anysize.errors import ImageSizeError, MixedSizesError, RaggedError, UnsupportedOperatorError
from anysize.ragged import RaggedBatch

HINT = "\nhint: batch images of one size together, or write a rule: anysize.register_rule(function)"
GIVEN = "was given a ragged batch: "
NO_RULE = " " + GIVEN + "no rule says how it works on images of mixed sizes" + HINT


def batch(*sizes: tuple[int, ...], channels: int = 2) -> RaggedBatch:
    return RaggedBatch.from_images([torch.randn(channels, *size) for size in sizes or ((5, 7), (8, 4))])


def refused(call: Any, error: type[Exception] = UnsupportedOperatorError) -> str:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("fft_fft2", lambda x: torch.fft.fft2(x)),
        ("torch.nn.functional.unfold", lambda x: F.unfold(x, 2)),
    ],
)
def test_a_function_without_a_rule(name: str, call: Any) -> None:
    assert refused(lambda: call(batch())) == name + NO_RULE


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.numpy(),
        lambda x: x.numel(),
        lambda x: torch.batch_norm(x, None, None, torch.zeros(2), torch.ones(2), False, 0.1, 1e-5, False),
    ],
)
def test_other_functions_and_methods_without_a_rule(call: Any) -> None:
    assert refused(lambda: call(batch())).endswith(NO_RULE)


class Unfolding(nn.Module):
    def forward(self, x: Any) -> Any:
        return F.unfold(x, 2)


def test_a_refusal_names_the_module() -> None:
    body = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(2, 2, 1), Unfolding()))
    model = nn.Sequential(OrderedDict(stem=nn.Conv2d(2, 2, 1), body=body))
    assert refused(lambda: model(batch())) == "torch.nn.functional.unfold (called in Sequential.body.1.1)" + NO_RULE
    assert refused(lambda: Unfolding()(batch())) == "torch.nn.functional.unfold (called in Unfolding)" + NO_RULE


MIXES = "which mixes images; reduce each image over its own axes"


@pytest.mark.parametrize("name", ["mean", "sum", "amax", "var", "norm", "logsumexp"])
def test_reductions_over_the_images(name: str) -> None:
    assert refused(lambda: getattr(batch(), name)(dim=(0, 2, 3))).endswith(
        f"{GIVEN}it reduces over axes (0, 2, 3), that of the images among them, {MIXES}{HINT}"
    )


def test_reductions_over_everything_and_other_options() -> None:
    for call in (lambda: batch().mean(), lambda: torch.sum(batch()), lambda: batch().max(), lambda: batch().std()):
        assert refused(call).endswith(f"{GIVEN}it reduces over everything, {MIXES}{HINT}")
    assert refused(lambda: torch.mean(batch(), (2, 3), out=torch.empty(2))).endswith(
        f"{GIVEN}the options ['out'] have no exact rule{HINT}"
    )
    with pytest.raises(IndexError, match=r"an axis appears twice among \(2, 2\)"):
        batch().mean((2, 2))
    with pytest.raises(IndexError, match=r"Dimension out of range \(expected -4 to 3, but got 4\)"):
        batch().sum(4)


def test_places_of_extremes_in_space() -> None:
    assert refused(lambda: batch().max(-1)).endswith(
        f"{GIVEN}over space its indices would be places on the canvas; amax and amin have a rule{HINT}"
    )
    assert refused(lambda: batch().argmax(2)).endswith(
        f"{GIVEN}over space its result would be a place on the canvas, not on each image{HINT}"
    )


def test_functions_of_pixels_that_are_refused() -> None:
    for call in (lambda x: x.sqrt_(), lambda x: x.pow_(-1), lambda x: x.div_(x), lambda x: x.__itruediv__(x)):
        assert refused(lambda call=call: call(batch())).endswith(
            f"{GIVEN}in place it has no exact rule: the padding must be filled first, in a copy{HINT}"
        )
    assert refused(lambda: F.glu(batch(), 3)).endswith(
        f"{GIVEN}axis 3 runs over images or space; only plain axes can be halved{HINT}"
    )
    assert refused(lambda: torch.where(batch() > 0)).endswith(
        f"{GIVEN}without values to choose from it lists positions, on the canvas{HINT}"
    )
    assert refused(lambda: bool(batch() > 0)) == "torch.Tensor.__bool__" + NO_RULE


def test_normalisations_that_are_refused() -> None:
    assert refused(lambda: F.layer_norm(batch(), (2, 5, 7))) == (
        f"torch.nn.functional.layer_norm {GIVEN}its normalized_shape (2, 5, 7) covers space, whose size differs from "
        f"image to image; it is exact over channels that come last, (N, H, W, C){HINT}"
    )
    assert refused(lambda: F.instance_norm(batch((1, 1), (2, 3))), ImageSizeError) == (
        "image 0 of the batch is one pixel where it reaches instance_norm; a variance needs two or more\n"
        "hint: use larger images, or a model with a smaller stride"
    )


def test_losses_that_are_refused() -> None:
    labels = RaggedBatch.from_labels([torch.zeros(5, 7).long(), torch.zeros(8, 5).long()])
    assert refused(lambda: F.cross_entropy(batch(), labels), MixedSizesError) == (
        "cross_entropy was given two ragged batches whose image 1 is 8x4 in one and 8x5 in the other: each image must "
        "have one size in both\nhint: resize one to the other's sizes first"
    )
    assert refused(lambda: F.cross_entropy(batch(), torch.zeros(2, 5, 5).long()), MixedSizesError) == (
        "cross_entropy was given a target of shape (2, 5, 5) beside logits on a canvas of shape (2, 2, 8, 7): one of "
        "shape (2, 8, 7) is required\nhint: lay the label maps with RaggedBatch.from_labels(masks)"
    )
    assert refused(lambda: F.mse_loss(batch(), batch(), size_average=True)) == (
        f"torch.nn.functional.mse_loss {GIVEN}size_average= and reduce= have no exact rule; reduction= has{HINT}"
    )


def test_a_plain_operand_that_varies_over_space() -> None:
    for shape in ((2, 2, 8, 7), (1, 1, 8, 1), (7,), (2, 2), (1, 1, 1, 1, 1)):
        for call in (
            lambda x, t: x + t,
            lambda x, t: t * x,
            lambda x, t: torch.sub(x, t),
            lambda x, t: x / t,
        ):
            assert refused(lambda call=call, shape=shape: call(batch(), torch.ones(shape))).endswith(
                f"{GIVEN}the other operand is a plain tensor of shape {shape}, which varies over "
                f"space; only tensors with length 1 in the last 2 axes apply to images of mixed sizes{HINT}"
            )


def test_batches_of_other_sizes() -> None:
    for call, name in ((lambda x, y: x + y, "__add__"), (torch.mul, "mul"), (lambda x, y: x.sub_(y), "sub_")):
        assert refused(lambda call=call: call(batch((5, 7), (8, 4)), batch((5, 7), (8, 5))), MixedSizesError) == (
            f"{name} was given two ragged batches whose image 1 is 8x4 in one and 8x5 in the other: each "
            "image must have one size in both\nhint: resize one to the other's sizes first"
        )
    assert refused(lambda: batch((5, 7)) + batch((5, 7), (8, 5)), MixedSizesError) == (
        "__add__ was given ragged batches of 1 and of 2 images: both must hold the same images\n"
        "hint: a value for each image or for all goes beside a batch as a plain tensor (N, C, 1, 1)"
    )


def test_other_operands() -> None:
    assert refused(lambda: torch.add(batch(), 1.0, out=torch.empty(2))).endswith(f"{GIVEN}out= has no exact rule{HINT}")
    assert refused(lambda: F.conv2d(torch.randn(1, 2, 9, 9), batch())).endswith(
        f"{GIVEN}only its input may be ragged, not its weight{HINT}"
    )
    assert refused(lambda: F.batch_norm(torch.randn(2, 2, 3, 3), None, None, batch(), training=True)) == (
        f"torch.nn.functional.batch_norm {GIVEN}only its input may be ragged{HINT}"
    )


def test_positions_of_maxima() -> None:
    reason = f"{GIVEN}return_indices=True gives positions on the canvas, not on each image{HINT}"
    volume = batch((5, 7, 4), (8, 4, 4))
    line = batch((5,), (8,))
    for call in (
        lambda: F.max_pool2d(batch(), 2, return_indices=True),
        lambda: nn.MaxPool1d(2, return_indices=True)(line),
        lambda: nn.MaxPool3d(2, return_indices=True)(volume),
        lambda: F.adaptive_max_pool1d(line, 1, return_indices=True),
        lambda: F.adaptive_max_pool2d(batch(), 1, return_indices=True),
        lambda: F.adaptive_max_pool3d(volume, 1, return_indices=True),
    ):
        assert refused(call).endswith(reason)


def test_images_that_are_too_small() -> None:
    where = "(height x width) where it reaches"
    hint = "\nhint: leave such images out, enlarge them, or use a model with a smaller stride"
    assert refused(lambda: F.conv2d(batch((9, 9), (5, 7)), torch.randn(2, 2, 9, 3)), ImageSizeError) == (
        f"image 1 of the batch is 5x7 {where} conv2d, which needs at least 9x3{hint}"
    )
    assert refused(lambda: nn.MaxPool2d(6, padding=1)(batch((9, 3))), ImageSizeError) == (
        f"image 0 of the batch is 9x3 {where} max_pool2d in MaxPool2d, which needs at least 4x4{hint}"
    )
    assert refused(lambda: F.avg_pool2d(batch((1, 3), (3, 3)), (2, 3)), ImageSizeError) == (
        f"image 0 of the batch is 1x3 {where} avg_pool2d, which needs at least 2x3{hint}"
    )
    assert refused(lambda: F.conv1d(batch((4,)), torch.randn(2, 2, 5)), ImageSizeError) == (
        f"image 0 of the batch is 4 (length) where it reaches conv1d, which needs at least 5{hint}"
    )
    assert refused(lambda: F.max_pool3d(batch((4, 1, 4)), 2), ImageSizeError) == (
        "image 0 of the batch is 4x1x4 (depth x height x width) where it reaches max_pool3d, which needs at "
        f"least 2x2x2{hint}"
    )


CONSTRUCTOR = [
    (
        lambda: RaggedBatch(torch.zeros(1, 1, 4, 4), ((4, 5),)),
        "image 0 of the batch is 4x5, the canvas 4x4: each length must be at least 1 and at most the canvas'",
    ),
    (
        lambda: RaggedBatch(torch.zeros(2, 1, 4, 4), ((4, 4), (0, 4))),
        "image 1 of the batch is 0x4, the canvas 4x4: each length must be at least 1 and at most the canvas'",
    ),
    (
        lambda: RaggedBatch(torch.zeros(1, 1, 4, 4), ((4,),)),
        "image 0 of the batch is 4, the canvas 4x4: each length must be at least 1 and at most the canvas'",
    ),
    (
        lambda: RaggedBatch(torch.zeros(4, 4), ((4, 4),)),
        "the canvas has shape (4, 4); N x C x *spatial with one to three spatial axes is required",
    ),
    (
        lambda: RaggedBatch(torch.zeros(2, 1, 4, 4), ((4, 4),)),
        "1 sizes were given for a canvas of 2 images; one size an image is required",
    ),
    (
        lambda: RaggedBatch.from_images([]),
        "a ragged batch was asked for without any image\nhint: pass one image or more",
    ),
    (
        lambda: RaggedBatch.from_images([torch.zeros(1, 2, 2), torch.zeros(3, 2, 2)]),
        "image 1 has shape (3, 2, 2), image 0 (1, 2, 2): all must be C x L, C x H x W or C x D x H x W with "
        "the same number of axes and of channels C\n"
        "hint: convert grey and colour images to one number of channels first",
    ),
    (
        lambda: RaggedBatch.from_images([torch.zeros(1, 2, 2), torch.zeros(1, 3, 1)], canvas=(2, 9)),
        "a canvas of 2x9 cannot hold images of up to 3x2\nhint: use a canvas of at least 3x2",
    ),
]


@pytest.mark.parametrize(("call", "message"), CONSTRUCTOR)
def test_constructor(call: Any, message: str) -> None:
    assert refused(call, RaggedError) == message
