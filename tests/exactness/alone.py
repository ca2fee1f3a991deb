"""Any function of ragged batches against itself, called on each image alone; and what padding may hold."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from anysize.ragged import Padding, RaggedBatch
from oracle import poisoned, relative_error

PADDINGS = ("zero", "nan", "inf", "huge", "finite")
"""Zeros; three kinds of poison of which nothing is known; and large numbers that a rule might have left."""

LENGTHS = ((17,), (31,), (8,), (31,))
VOLUMES = ((5, 7, 4), (4, 9, 5), (6, 4, 8))


def drawn_sizes(smallest: int, largest: int = 20, axes: int = 2) -> st.SearchStrategy[list[tuple[int, ...]]]:
    """One to four sizes."""
    return st.lists(st.tuples(*[st.integers(smallest, largest)] * axes), min_size=1, max_size=4)


def with_padding(batch: RaggedBatch, padding: str) -> RaggedBatch:
    """The same images with something else around them."""
    if padding == "zero":
        return batch
    if padding == "finite":
        canvas = torch.where(batch.mask, batch.canvas, batch.canvas.new_full((), 1e4))
        return RaggedBatch(canvas, batch.sizes, padding=Padding.FINITE)
    return poisoned(batch, {"nan": torch.nan, "inf": torch.inf, "huge": 1e30}[padding])


def check_alone(
    function: Callable[..., Any],
    sizes: Sequence[Sequence[int]],
    *,
    channels: int = 3,
    num_batches: int = 1,
    operand: Tensor | None = None,
    padding: str = "zero",
    dtype: torch.dtype = torch.float64,
    channels_last: bool = False,
    tolerance: float = 1e-12,
) -> None:
    """Compare values and gradients; the truth is in float64.

    Args:
        function: takes ``num_batches`` batches of the same sizes and then the operand, if there is one.
        operand: a plain tensor; one with an entry an image is cut up for the truth.
    """
    generator = torch.Generator().manual_seed(0)

    def draw() -> list[Tensor]:
        images = [torch.randn(channels, *size, generator=generator, dtype=torch.float64) for size in sizes]
        return [image.to(dtype) for image in images]

    values = [draw() for _ in range(num_batches)]
    mine = [[image.clone().requires_grad_() for image in images] for images in values]
    true = [[image.double().requires_grad_() for image in images] for images in values]
    operands = [None if operand is None else operand.clone().requires_grad_() for _ in range(2)]
    batches = [with_padding(RaggedBatch.from_images(images), padding) for images in mine]
    if channels_last:
        batches = [batch.to(memory_format=torch.channels_last) for batch in batches]
    result = function(*batches, *([] if operand is None else [operands[0].to(dtype)]))
    got = result.unbind() if isinstance(result, RaggedBatch) else list(result)
    expected = []
    for index in range(len(sizes)):
        alone = [images[index][None] * 1 for images in true]  # no leaf: the function may work in place
        if operand is not None:
            shared = operand.dim() < 4 or operand.shape[0] != len(sizes)
            alone.append(operands[1] if shared else operands[1][index : index + 1])
        expected.append(function(*alone)[0])
    assert len(got) == len(expected) == len(sizes)
    scale = max(float(value.detach().abs().max()) for value in expected)
    for index, (value, truth) in enumerate(zip(got, expected, strict=True)):
        assert value.dtype == dtype
        error = relative_error(value.detach().double(), truth.detach(), scale)
        assert error <= tolerance, f"image {index}: values deviate by {error:.2e}"
    if not expected[0].requires_grad:
        assert not got[0].requires_grad
        return
    weights = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in expected]
    for maps in (got, expected):
        sum((value.double() * weight).sum() for value, weight in zip(maps, weights, strict=True)).backward()
    gradients = [leaf.grad for images in mine for leaf in images]
    true_gradients = [leaf.grad for images in true for leaf in images]
    if operand is not None:
        gradients.append(operands[0].grad)
        true_gradients.append(operands[1].grad)
    scale = max(float(gradient.abs().max()) for gradient in true_gradients)
    for index, (gradient, truth) in enumerate(zip(gradients, true_gradients, strict=True)):
        error = relative_error(gradient.double(), truth, scale)
        assert error <= tolerance, f"gradient {index} deviates by {error:.2e}"


def check_padding_gradient(
    function: Callable[[RaggedBatch], Any], sizes: Sequence[Sequence[int]], channels: int = 3
) -> None:
    """The rule's contract: a zero gradient around the result sends exactly zero into the padding."""
    extent = [max(lengths) + 2 for lengths in zip(*sizes, strict=True)]
    images = [torch.randn(channels, *size, dtype=torch.float64) for size in sizes]
    batch = RaggedBatch.from_images(images, canvas=extent)
    canvas = torch.where(batch.mask, batch.canvas, batch.canvas.new_full((), 1e4)).requires_grad_()
    result = function(RaggedBatch(canvas, batch.sizes, padding=Padding.FINITE))
    maps = result.unbind() if isinstance(result, RaggedBatch) else [result]
    sum((value * torch.randn_like(value)).sum() for value in maps).backward()
    inside = batch.mask.expand_as(canvas)
    assert bool((canvas.grad[~inside] == 0).all())
    assert bool((canvas.grad[inside] != 0).any())
