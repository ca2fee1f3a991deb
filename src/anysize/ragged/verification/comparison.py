"""One run, together or alone, and how far two of them lie apart."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize.ragged.batch import RaggedBatch
from anysize.ragged.verification.alone import run_alone
from anysize.ragged.verification.outputs import Images, joined, largest, relative_error, split
from anysize.ragged.verification.preparation import WithoutDropout

__all__ = [
    "Compared",
    "Measured",
    "alone",
    "compare",
    "compare_values",
    "draw_weights",
    "measure",
    "poisoned",
    "together",
]

Values = dict[str, Images]
Forward = Callable[[nn.Module, Sequence[Tensor]], Values]

_MARGINS = (3, 5, 4)
"""The canvas exceeds the largest image by so many pixels, so that no image ends where the canvas does."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run gives."""

    values: Values
    input_gradients: Mapping[str, Tensor | None]
    parameter_gradients: Mapping[str, Tensor | None]
    statistics: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Compared:
    """The largest deviation of one kind."""

    kind: str
    output: str
    error: float
    worst: str
    errors: Mapping[str, float]
    """Of each image, parameter or buffer."""


def poisoned(images: Sequence[Tensor]) -> RaggedBatch:
    """Lay ``images`` (C, *size) on a canvas that is NaN wherever there is no image."""
    sizes = [tuple(image.shape[1:]) for image in images]
    canvas = [max(lengths) + _MARGINS[axis] for axis, lengths in enumerate(zip(*sizes, strict=True))]
    laid = []
    for image, size in zip(images, sizes, strict=True):
        missing = [have - length for have, length in zip(canvas, size, strict=True)]
        laid.append(functional.pad(image, [n for more in reversed(missing) for n in (0, more)], value=torch.nan))
    return RaggedBatch(torch.stack(laid), sizes)


def together(model: nn.Module, images: Sequence[Tensor]) -> Values:
    """Run all images as one ragged batch with poisoned padding."""
    with WithoutDropout():
        return split(model(poisoned(images)))


def alone(model: nn.Module, images: Sequence[Tensor]) -> Values:
    """Run each image alone."""
    return joined(run_alone(model, images, within=lambda _: WithoutDropout()))


def draw_weights(values: Values, seed: int) -> Values:
    """Draw the coefficients of a linear functional in which each output of ``values`` weighs the same."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for path, images in values.items():
        scale = largest(images) or 1.0
        drawn = [torch.randn(image.shape, generator=generator, dtype=torch.float64) / scale for image in images]
        weights[path] = [weight.to(image.device) for weight, image in zip(drawn, images, strict=True)]
    return weights


def measure(
    model: nn.Module, forward: Forward, images: Sequence[Tensor], weights: Values | None, seed: int
) -> Measured:
    """Run ``model`` and, where an output has a gradient, the backward pass of a fixed random functional.

    Args:
        model: a copy of its own; its gradients and buffers are read afterwards.
        forward: `together` or `alone`.
        images: (C, *size) each.
        weights: of the functional; drawn with ``seed`` for this run's values where None.
        seed: for the weights.
    """
    leaves = [image.clone().requires_grad_() for image in images]
    values = forward(model, leaves)
    weights = draw_weights(values, seed) if weights is None else weights
    terms = [
        (image.double() * weight).sum()
        for path, images in values.items()
        for image, weight in zip(images, weights.get(path, ()), strict=False)
        if image.requires_grad and image.shape == weight.shape
    ]
    if terms:
        torch.autograd.backward(torch.stack(terms).sum())
    return Measured(
        {path: [image.detach() for image in images] for path, images in values.items()},
        {f"image {number}": leaf.grad for number, leaf in enumerate(leaves)},
        {name: parameter.grad for name, parameter in model.named_parameters()},
        dict(model.named_buffers()),
    )


def compare(got: Measured, true: Measured, *, gradients: bool = True, statistics: bool = True) -> Iterator[Compared]:
    """Compare two runs: values per output, gradients of inputs and parameters, buffers."""
    for path, images in true.values.items():
        yield compare_values("values", path, got.values.get(path, []), images)
    if gradients:
        # One yardstick for all: a bias before batch normalisation has a gradient of zero, up to rounding.
        yield _compare_named("input gradients", got.input_gradients, true.input_gradients)
        yield _compare_named("parameter gradients", got.parameter_gradients, true.parameter_gradients)
    if statistics and true.statistics:
        errors = {
            name: relative_error(got.statistics.get(name), buffer, largest([buffer]))
            for name, buffer in true.statistics.items()
        }
        yield _worst("statistics", "", errors)


def compare_values(kind: str, path: str, got: Images, true: Images) -> Compared:
    """Compare one output, image by image."""
    if len(got) != len(true):
        return Compared(kind, path, torch.inf, f"{len(got)} images where {len(true)} are right", {})
    scale = largest(true)
    errors = {
        f"image {number}": relative_error(value, truth, scale)
        for number, (value, truth) in enumerate(zip(got, true, strict=True))
    }
    return _worst(kind, path, errors)


def _compare_named(kind: str, got: Mapping[str, Tensor | None], true: Mapping[str, Tensor | None]) -> Compared:
    scale = largest(list(true.values()))
    return _worst(kind, "", {name: relative_error(got.get(name), truth, scale) for name, truth in true.items()})


def _worst(kind: str, output: str, errors: dict[str, float]) -> Compared:
    worst = max(errors, key=lambda name: errors[name], default="")
    return Compared(kind, output, errors.get(worst, 0.0), worst, errors)
