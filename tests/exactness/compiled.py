"""A function traced by torch.compile against itself in eager mode: one graph for all sizes on one canvas."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from anysize.ragged import Padding, RaggedBatch
from oracle import random_images, relative_error

SIZES = (((17, 23), (10, 5), (13, 13)), ((20, 24), (7, 21), (6, 4)))
CANVAS = (20, 24)


def check_compiled(
    function: Callable[[Any], Any],
    channels: int = 3,
    sizes: Sequence[Sequence[Sequence[int]]] = SIZES,
    canvas: Sequence[int] = CANVAS,
) -> None:
    """Compare values, input gradients and sizes; the padding is NaN, and finite in the result if it says so."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    traced = torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager")
    for seed, batch_sizes in enumerate(sizes):
        images = random_images(batch_sizes, channels, seed)
        values, gradients, eager = _run(function, images, canvas)
        traced_values, traced_gradients, result = _run(traced, images, canvas)
        assert result.sizes == eager.sizes
        for mine, truth in zip([*traced_values, *traced_gradients], [*values, *gradients], strict=True):
            assert relative_error(mine, truth) <= 1e-12
        if result.padding > Padding.UNKNOWN:
            assert bool(torch.isfinite(result.canvas).all())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def _run(
    function: Callable[[Any], Any], images: Sequence[Tensor], canvas: Sequence[int]
) -> tuple[list[Tensor], list[Tensor], RaggedBatch]:
    clean = RaggedBatch.from_images(images, canvas=canvas)
    leaf = torch.where(clean.mask, clean.canvas, clean.canvas.new_full((), torch.nan)).requires_grad_()
    result = function(RaggedBatch(leaf, clean.sizes))
    maps = result.unbind()
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in maps]
    sum((value * weight).sum() for value, weight in zip(maps, weights, strict=True)).backward()
    assert leaf.grad is not None
    assert bool((leaf.grad.masked_select(~clean.mask) == 0).all())
    return [value.detach() for value in maps], RaggedBatch(leaf.grad, clean.sizes).unbind(), result
