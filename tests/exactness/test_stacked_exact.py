"""Batches stacked along a new first axis, as feature pyramids are merged."""

from typing import Any

import pytest
import torch
from alone import PADDINGS, check_alone
from torch import nn

from anysize.errors import MixedSizesError, UnsupportedOperatorError
from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES, random_images, randomise

REDUCTIONS = {
    "sum": lambda x, y: torch.stack([x, y, x * 2]).sum(dim=0),
    "sum_function": lambda x, y: torch.sum(torch.stack((x, y)), 0),
    "mean": lambda x, y: torch.stack([x, y], dim=0).mean(0),
    "maximum": lambda x, y: torch.stack([x, y]).amax((0,)),
    "minimum": lambda x, y: torch.amin(torch.stack([x, y]), dim=0),
    "index": lambda x, y: torch.stack([x, y])[1] + torch.stack([x, y])[-2],
    "unbound": lambda x, y: sum(torch.stack([x, y]).unbind(0)),
    "negative": lambda x, y: torch.stack([x, y], -5).sum(-5),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str) -> None:
    for sizes in AWKWARD_SIZES:
        check_alone(REDUCTIONS[name], sizes, num_batches=2)
    for padding in PADDINGS:
        check_alone(REDUCTIONS[name], AWKWARD_SIZES[0], num_batches=2, padding=padding)


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.after = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, images: Any) -> Any:
        fine = self.fine(images)
        again = self.coarse(fine)
        return self.after(torch.stack([fine, again]).sum(dim=0))


def test_a_pyramid() -> None:
    for sizes in AWKWARD_SIZES:
        check_alone(randomise(Pyramid().double()), sizes, padding="nan")
    images = random_images(AWKWARD_SIZES[0], 3)
    model = randomise(Pyramid().double())
    group = RaggedGroup([RaggedBatch.from_images(images[:1]), RaggedBatch.from_images(images[1:])])
    for mine, image in zip(model(group).unbind(), images, strict=True):
        torch.testing.assert_close(mine, model(image[None])[0], rtol=1e-12, atol=1e-12)


def test_what_it_tells_and_refuses() -> None:
    batch = RaggedBatch.from_images(random_images(AWKWARD_SIZES[0], 3))
    stack = torch.stack([batch, batch])
    assert (len(stack), stack.dim(), stack.shape[:3], stack.size(1)) == (2, 5, (2, 4, 3), 4)
    assert (stack.dtype, stack.device) == (batch.dtype, batch.device)
    for refused in (lambda: stack * 2, lambda: stack.sum(), lambda: stack.sum(1), lambda: stack.mean((0, 1))):
        with pytest.raises(UnsupportedOperatorError):
            refused()
    with pytest.raises(UnsupportedOperatorError, match="its first axis counts stacked batches, not images"):
        torch.relu(stack)
    with pytest.raises(MixedSizesError, match="each image must have one size in both"):
        torch.stack([batch, batch[:, :, 1:]])
