"""Reductions, norms, functions of pixels and losses under torch.compile: one graph, the values of eager mode."""

from typing import Any

import pytest
import torch
from compiled import check_compiled
from torch.nn import functional as F

from anysize.ragged import RaggedBatch

SCALE = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
FUNCTIONS: dict[str, Any] = {
    "reductions": lambda x: x * x.mean((2, 3), keepdim=True) - x.amax((2, 3), keepdim=True) + x.sum(1, keepdim=True),
    "plain": lambda x: x * x.mean((2, 3))[:, :, None, None] + torch.sum(x, (2, 3))[:, :, None, None],
    "rows": lambda x: x * x.mean(3, keepdim=True) + x.amin(2, keepdim=True) + x.var((2, 3), keepdim=True),
    "norms": lambda x: F.group_norm(x, 3, SCALE, SCALE) + F.normalize(x) + F.instance_norm(x),
    "layer_norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (3,), SCALE).permute(0, 3, 1, 2),
    "softmax": lambda x: x.softmax(-1) + x.log_softmax(1),
    "pixels": lambda x: torch.where(x > 0, x.exp(), (x.abs() + 0.1).sqrt()).clamp(min=0.2) * x**2 / (x.abs() + 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    check_compiled(FUNCTIONS[name])


def test_mean_cross_entropy() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    loss = torch.compile(F.cross_entropy, fullgraph=True, dynamic=False, backend="aot_eager")
    for sizes in (((5, 7), (9, 4)), ((3, 11), (8, 8))):
        images = [torch.randn(4, *size, dtype=torch.float64) for size in sizes]
        labels = RaggedBatch.from_labels([torch.randint(0, 4, size) for size in sizes], canvas=(9, 11))
        gradients, values = [], []
        for function in (loss, F.cross_entropy):
            leaf = RaggedBatch.from_images(images, canvas=(9, 11)).canvas.requires_grad_()
            values.append(function(RaggedBatch(leaf, sizes), labels))
            values[-1].backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-15)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
