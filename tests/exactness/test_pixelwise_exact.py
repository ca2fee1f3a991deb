"""Functions of single pixels beyond the activations: those that need care in the padding, comparisons, choices."""

import operator
from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient
from torch import nn
from torch.nn import functional as F

from anysize.ragged import Padding, RaggedBatch
from oracle import AWKWARD_SIZES

PRELU = torch.tensor([0.2, -0.3, 0.5], dtype=torch.float64)
GATE = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)[:, None, None]

# Their arguments are made positive where they must be: |x| + 0.1.
UNARY: dict[str, Any] = {
    "exp": lambda x: torch.exp(x),
    "exp_in_place": lambda x: (x + 0).exp_(),
    "expm1": lambda x: x.expm1(),
    "log": lambda x: torch.log(x.abs() + 0.1),
    "log2": lambda x: (x * x + 0.1).log2(),
    "log1p": lambda x: torch.log1p(x.square()),
    "sqrt": lambda x: (x.abs() + 0.1).sqrt(),
    "rsqrt": lambda x: torch.rsqrt(x * x + 0.1),
    "reciprocal": lambda x: (x.abs() + 0.1).reciprocal(),
    "two_over": lambda x: 2 / (x.abs() + 0.1),
    "square": torch.square,
    "power": lambda x: x**2,
    "power_in_place": lambda x: (x * 1).pow_(3),
    "half_power": lambda x: (x.abs() + 0.1) ** 0.5,
    "negative_power": lambda x: (x.abs() + 0.1).pow(-1.5),
    "fractional_power": lambda x: x.clamp(min=1e-6).pow(2.5),
    "power_of_two": lambda x: 2**x,
    "power_of_itself": lambda x: (x.abs() + 0.1) ** x,
    "power_of_tensor": lambda x: x.clamp(min=1e-6).pow(torch.full((1,), 3.0, dtype=x.dtype)),
    "clamp": lambda x: torch.clamp(x, -0.5, 0.7),
    "clamp_min": lambda x: x.clamp(min=0.3),
    "clamp_in_place": lambda x: (x + 0).clamp_(max=0.3),
    "clamp_min_function": lambda x: torch.clamp_min(x, 0.1),
    "clamp_tensors": lambda x: torch.clamp(x, GATE - 2, GATE),
    "clamp_tensor": lambda x: x.clamp(max=GATE),
    "clip": lambda x: x.clip(-1, 1),
    "sin": torch.sin,
    "cos": lambda x: x.cos(),
    "tan": lambda x: (x * 0.1).tan(),
    "atan": lambda x: x.atan(),
    "erf": torch.erf,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "logit": lambda x: torch.logit(x.sigmoid()),
    "tanhshrink": F.tanhshrink,
    "softshrink": nn.Softshrink(0.3),
    "hardshrink": nn.Hardshrink(0.3),
    "threshold": lambda x: F.threshold(x, 0.1, 20.0),
    "threshold_in_place": lambda x: F.threshold(x + 0, 0.1, 20.0, inplace=True),
    "rrelu": nn.RReLU().eval(),
    "prelu": lambda x: F.prelu(x, PRELU),
    "prelu_one": lambda x: torch.prelu(x, PRELU[:1]),
    "maximum": lambda x: torch.maximum(x, x * x),
    "max_of_two": lambda x: torch.max(x, 1 - x),
    "minimum": lambda x: x.minimum(GATE),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "where": lambda x: torch.where(x > 0, x, x * x),
    "where_number": lambda x: torch.where(x > 0, x, 0.5),
    "where_method": lambda x: x.where(x < 0.2, torch.zeros((), dtype=x.dtype)),
    "where_gate": lambda x: torch.where(GATE > 0, x, -x),
    "masked_fill": lambda x: x.masked_fill(x > 0, 3.0),
    "masked_fill_then_softmax": lambda x: x.masked_fill(GATE < 0, -torch.inf).softmax(1),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "lerp_batch": lambda x: torch.lerp(x, -x, x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, x, GATE, value=0.5),
    "addcdiv": lambda x: x.addcdiv(x, x.abs() + 0.1),
    "atan2": lambda x: torch.atan2(x, x * x + 1),
    "comparison": lambda x: x * (x > 0.3) + (x == x) * x,
    "comparison_float": lambda x: x * (x.abs() <= 1).to(x.dtype),
    "logical": lambda x: x * ((x > 0) & ~(x > 1) | (x < -1)),
    "logical_function": lambda x: x * torch.logical_or(x > 1, x.lt(-1)),
    "nan_to_num": lambda x: x + torch.nan_to_num((x / (x > 0)).detach(), posinf=1.0, neginf=-1.0),
    "isnan": lambda x: x * x.log().isnan(),
    "rsub": lambda x: torch.rsub(x, 2.0, alpha=0.5),
    "multiply": lambda x: torch.multiply(x, 3.0),
    "true_divide": lambda x: torch.true_divide(x, 3.0),
    "zeros_like": lambda x: x + torch.zeros_like(x),
    "ones_like": lambda x: x * torch.ones_like(x),
    "full_like": lambda x: x * torch.full_like(x, 2.0),
    "type_as": lambda x: x * (x > 0).type_as(x),
    "detached": lambda x: x * x.sigmoid().detach_(),
    "alpha_dropout_off": lambda x: F.alpha_dropout(x, 0.5, training=False),
    "feature_dropout_off": lambda x: F.feature_alpha_dropout(x, 0.5, training=False),
    "own_mean": lambda x: x * x.mean((2, 3) if x.dim() == 4 else tuple(range(2, x.dim())), keepdim=True),
}
WEIGHT = torch.randn(2, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", UNARY)
def test_function(name: str) -> None:
    function = UNARY[name]
    for padding in PADDINGS:
        check_alone(function, AWKWARD_SIZES[0], padding=padding)
        check_alone(lambda x: F.conv2d(function(x), WEIGHT, padding=1), AWKWARD_SIZES[3], padding=padding)
    check_alone(function, AWKWARD_SIZES[2], padding="nan")
    check_alone(function, AWKWARD_SIZES[1], padding="finite", channels_last=True)
    if "in_place" not in name:
        check_padding_gradient(function, ((9, 14), (13, 7)))
        check_padding_gradient(lambda x: F.conv2d(function(x), WEIGHT, padding=1), ((9, 14), (13, 7)))
    if name not in GATED:
        check_alone(function, LENGTHS, padding="nan")
        check_alone(function, VOLUMES, padding="nan")


GATED = (
    "clamp_tensors", "clamp_tensor", "minimum", "where_gate", "masked_fill_then_softmax", "addcmul"
)  # fmt: skip


@pytest.mark.parametrize("padding", PADDINGS)
def test_gated_linear_unit(padding: str) -> None:
    weight = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    for function in (lambda x: F.glu(x, 1), nn.GLU(dim=-3)):
        check_alone(function, AWKWARD_SIZES[0], channels=4, padding=padding)
        check_alone(lambda x: F.conv2d(F.glu(x, 1), weight, padding=1), AWKWARD_SIZES[3], channels=4, padding=padding)


def test_what_is_said_of_the_padding_is_true() -> None:
    images = [torch.randn(3, 3, 5, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)]
    for name, function in UNARY.items():
        for known in (Padding.ZERO, Padding.FINITE):
            batch = RaggedBatch.from_images(images, canvas=(6, 6))
            if known is Padding.FINITE:
                canvas = batch.canvas.masked_fill(~batch.mask, 1e3)
                batch = RaggedBatch(canvas, batch.sizes, padding=Padding.FINITE)
            result = function(batch)
            outside = result.canvas[~result.mask.expand_as(result.canvas)]
            if result.padding is not Padding.UNKNOWN:
                assert bool(outside.isfinite().all()), name
            if result.padding is Padding.ZERO:
                assert bool((outside == 0).all()), name


def test_functions_that_are_not_in_place_leave_the_batch() -> None:
    for name, function in UNARY.items():
        batch = RaggedBatch.from_images([torch.randn(3, 3, 5, dtype=torch.float64)], canvas=(4, 6))
        before = batch.unbind()[0].clone()
        function(batch)
        assert torch.equal(batch.unbind()[0], before), name


def test_drop_path() -> None:
    """One random number an image, drawn as libraries draw it."""
    torch.manual_seed(0)
    batch = RaggedBatch.from_images([torch.ones(3, 4, 5), torch.ones(3, 2, 7)] * 10)
    kept = batch.new_empty((batch.shape[0],) + (1,) * (batch.ndim - 1)).bernoulli_(0.75).div_(0.75)
    images = (batch * kept).unbind()
    assert {float(image.unique()) for image in images} == {0.0, float(torch.tensor(1.0) / 0.75)}


def test_comparisons_give_bool_batches() -> None:
    batch = RaggedBatch.from_images([torch.randn(3, 3, 5), torch.randn(3, 4, 2)])
    for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
        result = compare(batch, 0.0)
        assert result.dtype is torch.bool
        for got, image in zip(result.unbind(), batch.unbind(), strict=True):
            assert torch.equal(got, compare(image, 0.0))
