"""The truth: a second, naive implementation. The same module runs over a list of images, one at a time.

`OneByOne` takes a ragged batch's place as a module's input: every torch function is applied to each image alone. Only
batch normalisation in training looks at all of them: over the concatenation of their pixels.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize.ragged import Padding, RaggedBatch

AWKWARD_SIZES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((17, 23), (31, 13), (8, 40), (19, 19)),  # primes, both orders
    ((26, 22),),  # one image
    ((13, 21), (13, 21), (13, 21)),  # all equal
    ((11, 64), (64, 11), (37, 37)),  # extreme aspect: most of the canvas is padding
    ((24, 24), (24, 24), (23, 24), (24, 23), (9, 9)),  # off by one, runs of equals
)


class OneByOne:
    """A list of images (1, C, *size) that a module takes as its input."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = list(images)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> "OneByOne":
        kwargs = kwargs or {}
        if func is functional.batch_norm and (kwargs.get("training") or (len(args) > 5 and args[5])):
            return cls(_batch_norm(*args, **kwargs))
        count = next(len(value.images) for value in (*args, *kwargs.values()) if isinstance(value, cls))
        results = [
            func(*_pick(args, i), **dict(zip(kwargs, _pick(kwargs.values(), i), strict=True))) for i in range(count)
        ]
        return cls(results)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(Tensor, name)
        return lambda *args, **kwargs: type(self).__torch_function__(method, (), (self, *args), kwargs)

    def dim(self) -> int:
        return self.images[0].dim()

    def __add__(self, other: Any) -> "OneByOne":
        return self.__torch_function__(Tensor.add, (), (self, other))

    def __mul__(self, other: Any) -> "OneByOne":
        return self.__torch_function__(Tensor.mul, (), (self, other))


def _pick(values: Any, index: int) -> list[Any]:
    return [value.images[index] if isinstance(value, OneByOne) else value for value in values]


def _batch_norm(
    batch: OneByOne, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> list[Tensor]:  # fmt: skip
    pixels = torch.cat([image.flatten(2) for image in batch.images], dim=2)
    normal = functional.batch_norm(pixels, running_mean, running_var, weight, bias, training, momentum, eps)
    parts = normal.split([image[0, 0].numel() for image in batch.images], dim=2)
    return [part.reshape(image.shape).clone() for part, image in zip(parts, batch.images, strict=True)]


def relative_error(value: Tensor, truth: Tensor, scale: float | None = None) -> float:
    """The largest deviation, relative to the largest true magnitude (or to ``scale``)."""
    assert value.shape == truth.shape, f"{tuple(value.shape)} is not {tuple(truth.shape)}"
    if truth.numel() == 0:
        return 0.0
    reference = float(truth.abs().max()) if scale is None else scale
    deviation = float((value - truth).abs().max())
    assert deviation == deviation, "NaN"
    return deviation / max(reference, 1e-300)


def random_images(sizes: Sequence[Sequence[int]], channels: int, seed: int = 0, **options: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(channels, *size, generator=generator, dtype=torch.float64, **options) for size in sizes]


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and BatchNorm buffer a random value: a fresh BatchNorm hides leaks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            if name.endswith("running_var"):
                tensor.copy_(noise.abs() + 0.5)
            elif tensor.dim() > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                tensor.copy_(noise * 0.5 + (1.0 if name.endswith("weight") else 0.1))
    return model


def poisoned(batch: RaggedBatch, value: float) -> RaggedBatch:
    """The same images with ``value`` (NaN, 1e30) for padding, of which nothing is known."""
    canvas = torch.where(batch.mask, batch.canvas, torch.full((), value, dtype=batch.dtype))
    return RaggedBatch(canvas, batch.sizes, padding=Padding.UNKNOWN)


def _maps(output: Any) -> list[Tensor]:
    """One tensor an image, from a ragged batch, a plain tensor or the oracle."""
    if isinstance(output, OneByOne):
        return [image[0] for image in output.images]
    return output.unbind() if isinstance(output, RaggedBatch) else list(output)


def check_exact(
    model: Callable[[Any], Any],
    sizes: Sequence[Sequence[int]],
    *,
    channels: int,
    training: bool = True,
    tolerance: float = 1e-12,
    poison: float | None = None,
    seed: int = 0,
) -> None:
    """Compare values, gradients of weights and inputs, and running statistics with the oracle's, in float64."""
    images = random_images(sizes, channels, seed)
    modules = [copy.deepcopy(model), copy.deepcopy(model)]
    for module in modules:
        if isinstance(module, nn.Module):
            module.double().train(training)
    leaves = [[image.clone().requires_grad_() for image in images] for _ in modules]
    batch = RaggedBatch.from_images(leaves[0])
    if poison is not None:
        batch = poisoned(batch, poison)
    outputs = [modules[0](batch), modules[1](OneByOne([image[None] for image in leaves[1]]))]
    got, expected = (_maps(output) for output in outputs)
    generator = torch.Generator().manual_seed(seed + 1)
    weights = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in expected]
    scale = max(float(value.detach().abs().max()) for value in expected)
    assert len(got) == len(expected)
    for index, (value, truth) in enumerate(zip(got, expected, strict=True)):
        error = relative_error(value.detach(), truth.detach(), scale)
        assert error <= tolerance, f"image {index}: values deviate by {error:.2e}"
    for maps in (got, expected):
        sum((value * weight).sum() for value, weight in zip(maps, weights, strict=True)).backward()
    _compare_gradients(leaves, tolerance)
    if isinstance(modules[0], nn.Module):
        _compare_parameters(modules, tolerance)


def _compare_gradients(leaves: list[list[Tensor]], tolerance: float) -> None:
    scale = max(float(leaf.grad.abs().max()) for leaf in leaves[1])
    for index, (mine, truth) in enumerate(zip(*leaves, strict=True)):
        error = relative_error(mine.grad, truth.grad, scale)
        assert error <= tolerance, f"image {index}: input gradients deviate by {error:.2e}"


def _compare_parameters(modules: list[nn.Module], tolerance: float) -> None:
    mine, truth = modules
    # A bias before BatchNorm has a gradient of zero up to rounding: the yardstick is the model's largest.
    scale = max((float(p.grad.abs().max()) for p in truth.parameters() if p.grad is not None), default=1.0)
    for (name, parameter), true in zip(mine.named_parameters(), truth.parameters(), strict=True):
        assert (parameter.grad is None) == (true.grad is None), name
        if true.grad is not None:
            error = relative_error(parameter.grad, true.grad, max(scale, float(true.grad.abs().max())))
            assert error <= tolerance, f"{name}: gradients deviate by {error:.2e}"
    for (name, buffer), true in zip(mine.named_buffers(), truth.buffers(), strict=True):
        if buffer.is_floating_point():
            error = relative_error(buffer, true)
            assert error <= tolerance, f"{name}: running statistics deviate by {error:.2e}"
        else:
            assert torch.equal(buffer, true), name
