"""Cross-entropy against the formula in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anysize.losses import LossSum, cross_entropy


def formula(logits: np.ndarray, targets: np.ndarray, smoothing: float) -> float:
    """Minus the sum of q log p, with q = (1 - smoothing) one_hot + smoothing / K."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        log_p = row - row.max() - np.log(np.exp(row - row.max()).sum())
        q = np.full(len(row), smoothing / len(row))
        q[target] += 1.0 - smoothing
        total -= float((q * log_p).sum())
    return total


@given(
    num_images=st.integers(1, 9),
    num_classes=st.integers(1, 6),
    smoothing=st.sampled_from([0.0, 0.1, 0.5, 0.99]),
    scale=st.sampled_from([1.0, 30.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_the_sum_and_the_count(num_images: int, num_classes: int, smoothing: float, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_images, num_classes)) * scale
    targets = random.integers(0, num_classes, num_images)
    result = cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets), label_smoothing=smoothing)
    assert isinstance(result, LossSum)
    assert result.count == num_images
    assert result.total.dim() == 0
    assert float(result.total) == pytest.approx(formula(logits, targets, smoothing), rel=1e-12, abs=1e-12)


def test_the_gradient_is_probability_minus_target() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 2, 1, 1, 0])
    for smoothing in (0.0, 0.2):
        (gradient,) = torch.autograd.grad(cross_entropy(logits, targets, label_smoothing=smoothing).total, logits)
        wanted = torch.nn.functional.one_hot(targets, 3).double() * (1 - smoothing) + smoothing / 3
        torch.testing.assert_close(gradient, logits.detach().softmax(1) - wanted, rtol=1e-12, atol=1e-14)


def test_parts_add_up_to_the_whole() -> None:
    logits, targets = torch.randn(7, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    whole = cross_entropy(logits, targets, label_smoothing=0.1)
    parts = [cross_entropy(logits[a:b], targets[a:b], label_smoothing=0.1) for a, b in ((0, 1), (1, 5), (5, 7))]
    assert sum(part.count for part in parts) == whole.count == 7
    assert float(sum(part.total for part in parts)) == pytest.approx(float(whole.total), rel=1e-14)
