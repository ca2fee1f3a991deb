"""Functions of single pixels, and sums and products of batches with batches, numbers and tensors."""

import operator
from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F

from anysize.ragged import Padding, RaggedBatch
from oracle import AWKWARD_SIZES, check_exact, randomise

ACTIVATIONS: dict[str, Any] = {
    "relu": F.relu,
    "relu_torch": torch.relu,
    "relu_method": lambda x: x.relu(),
    "relu_in_place": lambda x: F.relu(x, inplace=True),
    "relu_in_place_method": lambda x: x.relu_(),
    "relu_in_place_torch": torch.relu_,
    "relu_module": nn.ReLU(),
    "relu_module_in_place": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(),
    "relu6_in_place": nn.ReLU6(inplace=True),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "leaky_relu_in_place": nn.LeakyReLU(0.2, inplace=True),
    "elu": nn.ELU(1.3),
    "elu_in_place": nn.ELU(inplace=True),
    "selu": nn.SELU(),
    "selu_in_place": nn.SELU(inplace=True),
    "celu": nn.CELU(0.7),
    "celu_in_place": nn.CELU(inplace=True),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "silu_in_place": nn.SiLU(inplace=True),
    "mish": nn.Mish(),
    "mish_in_place": nn.Mish(inplace=True),
    "hardswish": nn.Hardswish(),
    "hardswish_in_place": nn.Hardswish(inplace=True),
    "hardtanh": nn.Hardtanh(),
    "hardtanh_in_place": nn.Hardtanh(-0.5, 0.7, inplace=True),
    "hardtanh_above_zero": nn.Hardtanh(0.5, 2.0),
    "tanh": torch.tanh,
    "tanh_method": lambda x: x.tanh(),
    "tanh_in_place": lambda x: x.tanh_(),
    "softsign": nn.Softsign(),
    "abs": torch.abs,
    "abs_in_place": lambda x: x.abs_(),
    "neg": torch.neg,
    "neg_operator": operator.neg,
    "neg_in_place": lambda x: x.neg_(),
    "sigmoid": torch.sigmoid,
    "sigmoid_functional": F.sigmoid,
    "sigmoid_method": lambda x: x.sigmoid(),
    "sigmoid_in_place": lambda x: x.sigmoid_(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardsigmoid_in_place": nn.Hardsigmoid(inplace=True),
    "softplus": nn.Softplus(beta=2.0),
    "logsigmoid": nn.LogSigmoid(),
    "clone": lambda x: x.clone(),
    "contiguous": lambda x: x.contiguous(),
    "dropout_off": lambda x: F.dropout(x, 0.5, training=False),
    "dropout_nothing": lambda x: F.dropout(x, 0.0, training=True),
    "dropout_module": nn.Dropout(0.5).eval(),
    "detach": lambda x: x.detach(),
}
WEIGHT = torch.randn(2, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    function = ACTIVATIONS[name]
    for sizes in AWKWARD_SIZES:
        check_alone(function, sizes)
    for padding in PADDINGS:
        check_alone(function, AWKWARD_SIZES[0], padding=padding)
        check_alone(function, AWKWARD_SIZES[0], padding=padding, channels_last=True)
        # What is known of the padding behind it must be true: a padded convolution reads it.
        check_alone(lambda x: F.conv2d(function(x), WEIGHT, padding=1), AWKWARD_SIZES[0], padding=padding)
        check_alone(lambda x: F.conv2d(function(x * 1.0), WEIGHT, padding=1), AWKWARD_SIZES[3], padding=padding)
    if "in_place" not in name and name != "detach":
        check_padding_gradient(function, ((9, 14), (13, 7)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_over_one_and_three_axes(name: str) -> None:
    check_alone(ACTIVATIONS[name], LENGTHS, padding="nan")
    check_alone(ACTIVATIONS[name], VOLUMES, padding="nan")


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if "in_place" in name])
def test_in_place_gives_back_the_batch_itself(name: str) -> None:
    for padding in ("zero", "nan"):
        batch = RaggedBatch.from_images([torch.randn(2, 3, 5), torch.randn(2, 4, 2)])
        if padding == "nan":
            batch = RaggedBatch(batch.canvas, batch.sizes)
        before = [image.clone() for image in batch.unbind()]
        assert ACTIVATIONS[name](batch) is batch
        for image, old in zip(batch.unbind(), before, strict=True):
            torch.testing.assert_close(image, ACTIVATIONS[name](old.clone()[None])[0])
            assert not torch.equal(image, old)


def test_what_each_activation_says_of_its_padding_is_true() -> None:
    batch = RaggedBatch.from_images([torch.randn(2, 3, 5), torch.randn(2, 4, 2)])
    claims = set()
    for function in ACTIVATIONS.values():
        result = function(batch.clone())
        claims.add(result.padding)
        outside = result.canvas[~result.mask.expand_as(result.canvas)]
        assert bool(outside.isfinite().all())
        if result.padding is Padding.ZERO:
            assert bool((outside == 0).all())
    assert claims == {Padding.FINITE, Padding.ZERO}


def test_dropout_drops_real_pixels_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    batch = RaggedBatch.from_images([torch.ones(4, 30, 50), torch.ones(4, 40, 20)])
    for dropped in (F.dropout(batch, 0.25), F.dropout(batch.clone(), 0.25, inplace=True)):
        for image in dropped.unbind():
            torch.testing.assert_close(image.unique(), torch.tensor([0.0, 4 / 3]))
            assert float((image == 0).double().mean()) == pytest.approx(0.25, abs=0.04)
    whole = F.dropout2d(batch, 0.5)
    for image in whole.unbind():
        assert all(len(channel.unique()) == 1 for channel in image)


PAIRS = {
    "add": operator.add,
    "add_function": torch.add,
    "add_method": lambda x, y: x.add(y),
    "add_alpha": lambda x, y: torch.add(x, y, alpha=2.5),
    "add_in_place": operator.iadd,
    "add_in_place_method": lambda x, y: x.add_(y),
    "sub": operator.sub,
    "sub_function": torch.sub,
    "sub_alpha": lambda x, y: x.sub(y, alpha=0.3),
    "sub_in_place": operator.isub,
    "mul": operator.mul,
    "mul_function": torch.mul,
    "mul_method": lambda x, y: x.mul(y),
    "mul_in_place": lambda x, y: (x + 0.0).mul_(y),
}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_two_batches(name: str, padding: str) -> None:
    for sizes in (*AWKWARD_SIZES, LENGTHS, VOLUMES):
        check_alone(PAIRS[name], sizes, num_batches=2, padding=padding)
    check_alone(PAIRS[name], AWKWARD_SIZES[0], num_batches=2, padding=padding, channels_last=True)
    check_alone(
        lambda x, y: F.conv2d(PAIRS[name](x + 1.0, y), WEIGHT, padding=1), AWKWARD_SIZES[3], num_batches=2,
        padding=padding,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(sizes=drawn_sizes(1))
def test_two_batches_of_any_size(sizes: list[tuple[int, int]]) -> None:
    check_alone(lambda x, y: F.conv2d((x + y) * y - x, WEIGHT, padding=1), sizes, num_batches=2, padding="nan")


@pytest.mark.parametrize("name", ["add", "sub", "mul"])
def test_a_batch_with_itself(name: str) -> None:
    check_alone(lambda x: F.conv2d(PAIRS[name](x, x), WEIGHT, padding=1), AWKWARD_SIZES[0], padding="finite")


def test_two_batches_on_canvases_of_different_extent() -> None:
    """Equal sizes whose canvases went through different windows."""
    images = [torch.randn(3, 8, 8, dtype=torch.float64), torch.randn(3, 6, 8, dtype=torch.float64)]
    wide = RaggedBatch.from_images(images, canvas=(9, 9))

    def function(x: Any) -> Any:
        return F.avg_pool2d(x, 2) + F.avg_pool2d(x, 1, 2) * 2.0

    assert F.avg_pool2d(wide, 2).canvas.shape != F.avg_pool2d(wide, 1, 2).canvas.shape
    for image, result in zip(images, function(wide).unbind(), strict=True):
        torch.testing.assert_close(result, function(image[None])[0], rtol=1e-14, atol=0)


NUMBERS = {
    "add": lambda x: x + 1.5,
    "add_reflected": lambda x: 1.5 + x,
    "add_in_place": lambda x: x.add_(2),
    "sub": lambda x: x - 2,
    "sub_reflected": lambda x: 2 - x,
    "mul": lambda x: x * -3.0,
    "mul_reflected": lambda x: 0.5 * x,
    "mul_in_place": lambda x: x.mul_(0.5),
    "div": lambda x: x / 3,
    "div_function": lambda x: torch.div(x, 3.0),
    "div_in_place": lambda x: x.div_(3.0),
    "tensor_without_axes": lambda x: (
        x * torch.tensor(2.5, dtype=torch.float64) + torch.tensor(1.0, dtype=torch.float64)
    ),
}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", NUMBERS)
def test_batch_and_number(name: str, padding: str) -> None:
    for sizes in (*AWKWARD_SIZES, LENGTHS, VOLUMES):
        check_alone(NUMBERS[name], sizes, padding=padding)
    check_alone(lambda x: F.conv2d(NUMBERS[name](x), WEIGHT, padding=1), AWKWARD_SIZES[0], padding=padding)


OPERANDS = {
    "add": operator.add,
    "add_before": lambda x, t: t + x,
    "sub": operator.sub,
    "sub_before": lambda x, t: t - x,
    "sub_function_before": lambda x, t: torch.sub(t, x),
    "mul": operator.mul,
    "mul_before": lambda x, t: t * x,
    "mul_function_before": lambda x, t: torch.mul(t, x),
    "mul_in_place": lambda x, t: (x + 0.0).mul_(t),
    "div": lambda x, t: x / (t.abs() + 0.5),
}


@pytest.mark.parametrize("shape", [(4, 3, 1, 1), (1, 3, 1, 1), (4, 1, 1, 1), (3, 1, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("name", OPERANDS)
def test_batch_and_plain_tensor(name: str, shape: tuple[int, ...]) -> None:
    operand = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for padding in PADDINGS:
        check_alone(OPERANDS[name], AWKWARD_SIZES[0], operand=operand, padding=padding)
    check_alone(
        lambda x, t: F.conv2d(OPERANDS[name](x, t), WEIGHT, padding=1),
        AWKWARD_SIZES[0],
        operand=operand,
        padding="nan",
    )


class SqueezeExcite(nn.Module):
    """The scale stands before or behind the maps; libraries differ."""

    def __init__(self, *, scale_first: bool) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.after = nn.Conv2d(4, 3, 3, padding=1)
        self.scale_first = scale_first

    def forward(self, x: Any) -> Any:
        scale = self.excite(self.squeeze(F.adaptive_avg_pool2d(x, 1)).relu()).sigmoid()
        return self.after(scale * x if self.scale_first else x * scale)


@pytest.mark.parametrize("scale_first", [True, False])
def test_squeeze_and_excite(scale_first: bool) -> None:
    for sizes in AWKWARD_SIZES:
        check_exact(randomise(SqueezeExcite(scale_first=scale_first)), sizes, channels=4, poison=torch.nan)
