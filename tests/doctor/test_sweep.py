"""The sweep of learning rates: equal pixels, the right rate of a problem that is known, and no trace."""

import numpy as np
import pytest
import torch
from learn_toy import cross_entropy, seeded, shapes
from torch import Tensor, nn

from anysize.doctor.sweep import suggest, sweep
from anysize.errors import UsageError
from anysize.losses import LossSum
from anysize.ragged import RaggedBatch


class Bowl(nn.Module):
    """One weight per logit: (N, 1, H, W) of ones -> its weights as logits (N, K, H, W)."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), start))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.weight.reshape(1, 2, 1, 1)


def square(logits: Tensor, _: Tensor) -> Tensor:
    return logits.square().sum(1).mean()


def test_a_quadratic_bowl_diverges_where_theory_says() -> None:
    """Gradient descent on |w|^2 diverges above a rate of 1 (curvature 2): 2 / curvature."""
    batches = [(torch.ones(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))]
    result = sweep(
        Bowl(1.0), batches, square, lambda m: torch.optim.SGD(m.parameters(), lr=1.0), low=1e-4, high=100, steps=60
    )
    assert result.diverged
    assert 1.0 <= result.rates[-1] < 20
    # The losses are those of the recurrence, worked by hand.
    weight, expected = 1.0, []
    for rate in result.rates:
        expected.append(2 * weight**2)
        weight -= rate * 2 * weight
    np.testing.assert_allclose(result.losses, expected, rtol=1e-3, atol=1e-9)
    assert result.usable is not None
    assert result.suggestion is not None
    assert result.suggestion <= result.usable[1] / 10 <= 0.3
    assert np.allclose(np.diff(np.log(result.rates)), np.log(1e6) / 59)


def test_probes_have_equal_pixels() -> None:
    """Batches of 100, 300 and 500 pixels, some ignored: each probe holds 280 in the mean, and divides once."""
    targets = [torch.zeros(1, 1, pixels, dtype=torch.long) for pixels in (100, 300, 500)]
    targets[2][..., :60] = 255
    batches = [(torch.ones(1, 1, 1, t.shape[-1]) * (i + 1), t) for i, t in enumerate(targets)]

    def counted(logits: Tensor, labels: Tensor) -> LossSum:
        valid = labels != 255
        return LossSum((logits.square().sum(1) * valid).sum(), float(valid.sum()))

    model = Bowl(1.0)
    result = sweep(
        model, batches, counted, lambda m: torch.optim.SGD(m.parameters(), lr=1.0), low=1e-12, high=1e-11, steps=20
    )
    assert np.mean(result.pixels[1:]) == pytest.approx(280, rel=0.05)
    assert min(result.pixels) >= 100
    # The first probe is 100 + 300 pixels: sum over sum, with the weights still where they were.
    total, count = (100 * 2 * 1 + 300 * 2 * 4), 400
    assert result.pixels[0] == count
    assert result.losses[0] == pytest.approx(total / count, rel=1e-6)
    assert torch.equal(model.weight.detach(), torch.ones(2))
    assert model.weight.grad is None


def test_groups_keep_their_ratio() -> None:
    model, rates = seeded().train(), []

    class Spy(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            assert closure is None
            rates.append([group["lr"] for group in self.param_groups])
            super().step()

    def make(m: nn.Module) -> torch.optim.Optimizer:
        return Spy([{"params": m.body.parameters(), "lr": 0.01}, {"params": m.head.parameters(), "lr": 0.1}], lr=1.0)  # type: ignore[union-attr]

    images, masks = (torch.stack(part) for part in zip(*shapes(), strict=True))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = sweep(model, [(images, masks)], cross_entropy, make, steps=12)
    assert all(body == pytest.approx(head / 10) for body, head in rates)
    assert [head for _, head in rates] == pytest.approx(result.rates[: len(rates)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert result.usable is not None
    assert 1e-5 < result.usable[0] < result.usable[1]


def test_ragged_batches_are_taken() -> None:
    samples = [(image[:, : 30 + 6 * i], mask[: 30 + 6 * i]) for i, (image, mask) in enumerate(shapes(3))]
    images = RaggedBatch.from_images([image for image, _ in samples])
    masks = RaggedBatch.from_labels([mask for _, mask in samples])
    result = sweep(
        seeded().train(), [(images, masks)], cross_entropy, lambda m: torch.optim.AdamW(m.parameters(), 1e-3), steps=8
    )
    assert set(result.pixels) == {float(sum(int((mask != 255).sum()) for _, mask in samples))}


def test_curves_are_read_robustly() -> None:
    rates = np.geomspace(1e-6, 10, 60)
    log = np.log10(rates)
    clean = 2 - 1.5 / (1 + np.exp(-3 * (log + 2.5))) + np.where(log > -0.5, 8 * (log + 0.5) ** 2, 0)
    _, rate, usable = suggest(rates, clean)
    assert rate is not None
    assert usable is not None
    assert 1e-3 < rate < 5e-2
    assert 0.1 < usable[1] < 2
    odd = clean.copy()
    odd[10], odd[25] = 0.0, 9.0  # single odd batches
    _, again, _ = suggest(rates, odd)
    assert again == pytest.approx(rate, rel=0.5)
    assert suggest(rates, np.full(60, 1.0))[1:] == (None, None)
    assert suggest(rates[:30], np.linspace(1, 3, 30))[1:] == (None, None)
    assert suggest(rates, [*clean[:50], float("nan"), *clean[51:]])[1] is not None


def test_what_cannot_be_swept_is_refused() -> None:
    model = Bowl(1.0)

    def make(m: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(m.parameters(), lr=1.0)

    match = r"^a sweep got 0 batches, 60 steps and rates from 1e-06 to 10; at least one batch, 8 steps and two rising"
    with pytest.raises(UsageError, match=match):
        sweep(model, [], square, make)
    batch = (torch.ones(1, 1, 2, 2), torch.full((1, 2, 2), 255))
    with pytest.raises(UsageError, match=r"^no target of the sweep's batches counts: all are ignored"):
        sweep(model, [batch], square, make)
