"""Clearing the padding: both ways of doing it, and the real pixels untouched."""

import pytest
import torch

from anysize.ragged import padding
from anysize.ragged.padding import clear_in_place, fill_in_place, real_mask

CASES = [
    ((7, 9), ((7, 9), (7, 5), (3, 9), (3, 9), (1, 1))),
    ((6, 6), ((6, 6), (6, 6))),
    ((40, 33), ((40, 30), (39, 33))),
    ((12,), ((12,), (5,), (5,), (1,))),
    ((4, 5, 6), ((4, 5, 6), (4, 2, 6), (1, 5, 3))),
]


@pytest.mark.parametrize(("extents", "sizes"), CASES, ids=str)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("few_per_slab", [0, 10**9])
def test_the_padding_is_zero_and_the_images_are_as_they_were(
    extents: tuple[int, ...],
    sizes: tuple[tuple[int, ...], ...],
    channels_last: bool,
    few_per_slab: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(padding, "_FEW_PER_SLAB", few_per_slab)
    canvas = torch.randn(len(sizes), 3, *extents) + 5.0
    if channels_last:
        canvas = canvas.movedim(1, -1).contiguous().movedim(-1, 1)
    columns = tuple(zip(*sizes, strict=True))
    mask = real_mask(columns, extents, canvas.dim(), canvas.device)
    expected = torch.where(mask, canvas, torch.zeros(()))
    version = canvas._version
    clear_in_place(canvas, columns)
    assert torch.equal(canvas, expected)
    assert canvas._version == version  # unseen by autograd
    fill_in_place(canvas, columns, torch.tensor([1.0, 2.0, 3.0]))
    columns = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, *(1,) * len(extents))
    assert torch.equal(canvas, torch.where(mask, expected, columns))
