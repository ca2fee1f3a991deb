"""Networks of torchvision, timm and segmentation_models_pytorch as the truth for ours, weights moved by name."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anysize.errors import MissingExtraError
from anysize.models.named import import_zoo
from oracle import randomise, relative_error


def library(name: str) -> Any:
    """Import ``torchvision``, ``timm`` or ``smp``, or skip the test."""
    try:
        return import_zoo(name)
    except MissingExtraError as missing:
        pytest.skip(str(missing))


def check_same_values(
    ours: nn.Module,
    theirs: nn.Module,
    sizes: Sequence[tuple[int, int]],
    *,
    renamed: Callable[[str], str] = str,
    run_theirs: Callable[[Tensor], Tensor] | None = None,
    in_channels: int = 3,
) -> None:
    """Compare answers and running statistics in float64, in evaluation and in training mode.

    Args:
        ours, theirs: with one state dict, of which ``renamed`` maps their names to ours.
        sizes: (height, width) of the images.
        run_theirs: in place of calling their network.
    """
    randomise(theirs.double())
    ours.double().load_state_dict({renamed(key): value for key, value in theirs.state_dict().items()})
    for module in [*ours.modules(), *theirs.modules()]:
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_rate"):
            module.drop_rate = 0.0
    assert sizes
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        for number, size in enumerate(sizes):
            generator = torch.Generator().manual_seed(number)
            images = torch.randn(2, in_channels, *size, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                error = relative_error(ours(images), (run_theirs or theirs)(images))
            assert error <= 1e-10, f"{size}, training {training}: answers deviate by {error:.2e}"
    statistics = dict(ours.named_buffers())
    for key, value in theirs.named_buffers():
        error = relative_error(statistics[renamed(key)].double(), value.double())
        assert error <= 1e-10, f"{key} deviates by {error:.2e}"
