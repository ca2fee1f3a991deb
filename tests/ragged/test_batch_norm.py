"""Batch normalisation where numbers are hard: large means, constants, half precision, second derivatives."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anysize.errors import ImageSizeError
from anysize.ragged import RaggedBatch
from anysize.ragged.normalising import statistics
from oracle import OneByOne, random_images, randomise, relative_error

SIZES = ((11, 64), (64, 11), (37, 30))


def forward_and_backward(images: list[Tensor], module: nn.Module, weights: list[Tensor], *, ragged: bool) -> Any:
    leaves = [image.clone().requires_grad_() for image in images]
    if ragged:
        maps = module(RaggedBatch.from_images(leaves)).unbind()
    else:
        maps = [image[0] for image in module(OneByOne([leaf[None] for leaf in leaves])).images]
    sum((value * weight.to(value.dtype)).sum() for value, weight in zip(maps, weights, strict=True)).backward()
    return [value.detach().double() for value in maps], [leaf.grad.double() for leaf in leaves]


def deviation(values: list[Tensor], truth: list[Tensor]) -> float:
    error = max(float((a - b).abs().max()) for a, b in zip(values, truth, strict=True))
    assert error == error, "NaN"
    return error / max(float(b.abs().max()) for b in truth)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 5.0, 100.0, 1e4])
def test_a_mean_that_is_large_against_the_deviation(ratio: float) -> None:
    """In float32 as near to the truth as torch's own kernel on the pixels alone."""
    images = [(image * 3.0 + 3.0 * ratio).float() for image in random_images(SIZES, 4)]
    weights = random_images(SIZES, 4, seed=1)
    modules = [randomise(nn.BatchNorm2d(4)) for _ in range(3)]
    modules[2].double()
    mine = forward_and_backward(images, modules[0], weights, ragged=True)
    native = forward_and_backward(images, modules[1], weights, ragged=False)
    truth = forward_and_backward([image.double() for image in images], modules[2], weights, ragged=False)
    for part in range(2):  # values, gradients
        assert deviation(mine[part], truth[part]) <= 3 * deviation(native[part], truth[part]) + 3e-6
    torch.testing.assert_close(modules[0].running_mean.double(), modules[2].running_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(modules[0].running_var.double(), modules[2].running_var, rtol=2e-6, atol=0)
    for name in ("weight", "bias"):
        grads = [getattr(module, name).grad.double() for module in modules]
        assert deviation([grads[0]], [grads[2]]) <= 3 * deviation([grads[1]], [grads[2]]) + 3e-6


@pytest.mark.parametrize("constant", [0.0, 3.3, -1e4])
def test_a_constant_channel(constant: float) -> None:
    images = [image.float() for image in random_images(SIZES, 3)]
    for image in images:
        image[1] = constant
    module = nn.BatchNorm2d(3)
    values, gradients = forward_and_backward(images, module, images, ragged=True)
    rounding = abs(constant) * 2e-7 / module.eps**0.5
    assert all(float(value[1].abs().max()) <= rounding for value in values)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert float(module.running_var[1]) == pytest.approx(0.9, abs=1e-6 + (constant * 2e-7) ** 2)
    assert float(module.running_mean[1]) == pytest.approx(0.1 * constant)


@pytest.mark.parametrize("all_half", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, all_half: bool) -> None:
    """Statistics are in float32 at least, whether the parameters are or not."""
    images = [(image + 3.0).to(dtype) for image in random_images(SIZES, 4)]
    weights = random_images(SIZES, 4, seed=1)
    module, true_module = randomise(nn.BatchNorm2d(4)), randomise(nn.BatchNorm2d(4)).double()
    if all_half:
        module.to(dtype)
    values, gradients = forward_and_backward(images, module, weights, ragged=True)
    truth, true_gradients = forward_and_backward([i.double() for i in images], true_module, weights, ragged=False)
    precision = torch.finfo(dtype).eps
    assert module(RaggedBatch.from_images(images)).dtype == dtype
    assert deviation(values, truth) <= 2 * precision
    assert deviation(gradients, true_gradients) <= 2 * precision
    assert module.weight.grad.dtype == module.weight.dtype
    assert module.bias.grad.dtype == module.bias.dtype
    for mine, true in ((module.weight, true_module.weight), (module.bias, true_module.bias)):
        assert deviation([mine.grad.double()], [true.grad]) <= 4 * precision


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_parameters_and_inputs_get_no_gradient(affine: bool, frozen: bool) -> None:
    module = nn.BatchNorm2d(2, affine=affine).requires_grad_(not frozen)
    batch = RaggedBatch.from_images([torch.randn(2, 4, 5), torch.randn(2, 5, 3)])
    result = module(batch)
    assert result.requires_grad == (affine and not frozen)
    if result.requires_grad:
        sum(image.square().sum() for image in result.unbind()).backward()
        assert module.weight.grad is not None


def test_one_real_pixel_is_refused() -> None:
    batch = RaggedBatch.from_images([torch.randn(3, 1, 1)], canvas=(4, 4))
    module = nn.BatchNorm2d(3)
    with pytest.raises(ImageSizeError) as caught:
        module(batch)
    assert str(caught.value) == (
        "batch_norm in training was given one real pixel per channel; a variance needs two or more\n"
        "hint: use larger images, more images per batch, or freeze the BatchNorm statistics (module.eval())"
    )
    assert torch.equal(module.running_mean, torch.zeros(3))
    assert len(module.eval()(batch)) == 1
    assert len(module.train()(RaggedBatch.from_images([torch.randn(3, 1, 1)] * 2))) == 2


def test_a_second_derivative_is_refused() -> None:
    images = [image.requires_grad_() for image in random_images(((3, 4), (4, 2)), 2)]
    maps = nn.BatchNorm2d(2).double()(RaggedBatch.from_images(images)).unbind()
    (gradient,) = torch.autograd.grad(sum(value.pow(3).sum() for value in maps), images[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        gradient.sum().backward()


def outputs_of(function: Any) -> Any:
    """A function of two image tensors and parameters, for gradcheck."""

    def run(first: Tensor, second: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(RaggedBatch.from_images([first, second], canvas=(5, 5)), *parameters).unbind())

    return run


def test_numerical_gradients_of_batch_norm() -> None:
    first, second = (image.requires_grad_() for image in random_images(((3, 4), (4, 2)), 2))
    weight, bias = (torch.randn(2, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def normalise(batch: RaggedBatch, weight: Tensor, bias: Tensor) -> RaggedBatch:
        return F.batch_norm(batch, None, None, weight, bias, training=True)

    assert torch.autograd.gradcheck(outputs_of(normalise), (first, second, weight, bias))


@pytest.mark.parametrize(
    "options", [{"padding": 1}, {"padding": (0, 2), "stride": 2}, {"padding": "same", "dilation": 2}]
)
def test_numerical_first_and_second_derivatives_of_a_padded_convolution(options: dict[str, Any]) -> None:
    first, second = (image.requires_grad_() for image in random_images(((3, 4), (4, 2)), 2))
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def convolve(batch: RaggedBatch, weight: Tensor) -> RaggedBatch:
        # Each layer leaves numbers around the images, which the next has to clear, and its gradient has to.
        return F.conv2d(F.conv2d(batch * 1.5 + 1.0, weight, padding=1), weight, **options)

    run = outputs_of(convolve)
    assert torch.autograd.gradcheck(run, (first, second, weight))
    assert torch.autograd.gradgradcheck(run, (first, second, weight))
    total = sum(value.pow(2).sum() for value in run(first, second, weight))
    recorded = torch.autograd.grad(total, (first, second, weight), create_graph=True)
    for gradient, plain in zip(recorded, torch.autograd.grad(total, (first, second, weight)), strict=True):
        torch.testing.assert_close(gradient.detach(), plain, rtol=1e-12, atol=1e-12)


def test_numerical_gradients_of_a_block() -> None:
    first, second = (image.requires_grad_() for image in random_images(((3, 4), (4, 2)), 2))
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def block(batch: RaggedBatch, weight: Tensor) -> RaggedBatch:
        x = F.batch_norm(F.conv2d(batch, weight, padding=1), None, None, training=True)
        return x + F.conv2d(F.silu(x), weight, padding=1)

    assert torch.autograd.gradcheck(outputs_of(block), (first, second, weight))


@pytest.mark.parametrize("narrow", [1, 20, 50])
@pytest.mark.parametrize("ratio", [1.0, 30.0, 1e3])
def test_the_variance_does_not_cancel_however_little_padding_there_is(narrow: int, ratio: float) -> None:
    """``ratio`` is mean over standard deviation; ``narrow`` columns of one image are padding."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(2, 60, 60, generator=generator) + ratio for _ in range(4)]
    images.append(torch.randn(2, 60, 60 - narrow, generator=generator) + ratio)
    norm = torch.nn.BatchNorm2d(2, momentum=1.0)
    norm(RaggedBatch.from_images(images))
    pixels = torch.cat([image.flatten(1) for image in images], dim=1).double()
    assert torch.allclose(norm.running_var.double(), pixels.var(dim=1), rtol=3e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_statistics_of_a_gpu(dtype: torch.dtype, offset: float) -> None:
    """Two passes that never ask; they can be run on a CPU as well. One odd image must not spoil them."""
    images = [image[:4] for image in random_images(((1, 1), (30, 41), (50, 20)), 4)]
    images[0] = images[0] * 0 + 100.0
    images = [(image + offset).to(dtype) for image in images]
    batch = RaggedBatch.from_images(images)
    pixels = torch.cat([image.flatten(1) for image in images], 1).double()
    ratio = batch.canvas[:, 0].numel() / batch.num_real
    mean, variance = statistics._two_pass_statistics(batch.canvas, batch.columns, ratio)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-5}[dtype]
    assert relative_error(mean.double(), pixels.mean(1)) <= tolerance
    assert relative_error(variance.double(), pixels.var(1, correction=0)) <= 10 * tolerance
    assert bool((batch.canvas[~batch.mask.expand_as(batch.canvas)] == 0).all())


def test_gradients_in_half_precision_do_not_lean_to_one_side() -> None:
    """A factor that is rounded before the product errs in the same direction in every pixel."""
    images = random_images(((20, 31), (13, 40)), 6)
    norm = randomise(nn.BatchNorm2d(6)).bfloat16()
    truth = copy.deepcopy(norm).double()
    sums = []
    for module, dtype in ((norm, torch.bfloat16), (truth, torch.float64)):
        leaves = [image.bfloat16().to(dtype).requires_grad_() for image in images]
        weights = random_images(((20, 31), (13, 40)), 6, seed=3)
        maps = module(RaggedBatch.from_images(leaves)).unbind()
        sum((a.double() * b.bfloat16().double()).sum() for a, b in zip(maps, weights, strict=True)).backward()
        sums.append([leaf.grad.double() for leaf in leaves])
    for mine, true in zip(*sums, strict=True):
        scale = (mine * true).sum((1, 2)) / true.square().sum((1, 2))  # 1 but for rounding that leans
        assert float((scale - 1).abs().max()) < 1e-3
