"""Keras on its torch backend, for tests that compare with it."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oracle import relative_error


def import_keras() -> Any:
    """Import Keras over torch, or skip the test."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip(f"Keras runs on {keras.backend.backend()}, the comparison needs torch")
    return keras


def randomise_keras(model: Any, seed: int = 0, gain: float = 1.0) -> Any:
    """Give every weight a random value, running statistics included: fresh ones hide errors.

    Args:
        model: of Keras.
        seed: of the values.
        gain: mean of batch normalisation's scales; above 1 where images would fade on their way through many layers.
    """
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "int" in str(variable.dtype):  # the state of a random generator
            continue
        noise = generator.standard_normal(variable.shape)
        if variable.name == "moving_variance":
            value = np.abs(noise) + 0.5
        elif len(variable.shape) > 1:
            # (h, w, C, C') and (C, C'): by C; a depthwise (h, w, C, 1) has one input channel an output
            fan_in = np.prod(variable.shape[:2]) if "depthwise" in variable.name else np.prod(variable.shape[:-1])
            value = noise * (2 / fan_in) ** 0.5
        else:
            value = noise * 0.1 + (gain if variable.name == "gamma" else 0.05)
        variable.assign(value.astype("float32"))
    return model


def weights_of(layer: Any) -> list[Tensor]:
    """The weights in Keras's order and layout; its own ``get_weights`` warns under numpy 2."""
    return [variable.value.detach().cpu() for variable in layer.weights]


def keras_answers(model: Any, images: Tensor) -> Tensor:
    """(B, C, H, W) -> what Keras says, its maps as (B, K, H', W') and its vectors as they are."""
    with torch.no_grad():
        output = model(images.permute(0, 2, 3, 1), training=False)
    output = torch.as_tensor(output).detach().cpu()
    return output.permute(0, 3, 1, 2) if output.dim() == 4 else output


def check_agreement(
    mine: nn.Module, theirs: Any, sizes: Sequence[tuple[int, int]], *, channels: int = 3, tolerance: float = 1e-5
) -> None:
    """Compare answers in float32, relative to the largest."""
    mine.eval()
    assert sizes
    with torch.no_grad():  # where images fade on their way through, any padding would do
        seeds = (torch.Generator().manual_seed(seed) for seed in (90, 91))
        one, other = (mine(torch.randn(1, channels, *sizes[0], generator=seed)) for seed in seeds)
    assert relative_error(one, other, scale=float(one.std())) > 1e-2
    for number, size in enumerate(sizes):
        images = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(number))
        with torch.no_grad():
            error = relative_error(mine(images), keras_answers(theirs, images))
        assert error <= tolerance, f"{size}: answers deviate by {error:.2e}"
