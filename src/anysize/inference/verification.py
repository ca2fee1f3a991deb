"""Verification of networks by name, and of trained ones."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from anysize.inference.device import choose_device
from anysize.inference.trained import find_weights
from anysize.inference.verify_config import VerifyConfig
from anysize.models import load_model
from anysize.models.named import named_model
from anysize.ragged import VerifyReport, verify

__all__ = ["verify_named"]


def verify_named(config: VerifyConfig) -> Iterator[tuple[str, VerifyReport]]:
    """Verify each model of ``config``; what `anysize verify` does.

    Yields:
        The model as it was named, and its report.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    device = choose_device(config.device)
    for name in config.require_models():
        report = verify(
            _model(name, config.weights),
            # The libraries' networks are for colour; a first convolution behind a space-to-depth would mislead.
            in_channels=3 if ":" in name else None,
            sizes=config.parsed_sizes(),
            dtype=getattr(torch, config.dtype),
            device=device,
            training=config.training,
            randomise=config.randomise,
            seed=config.seed,
        )
        yield name, report


def _model(name: str, weights: str) -> nn.Module:
    path = Path(name)
    if path.is_dir() or path.suffix == ".safetensors":
        return load_model(find_weights(path, weights))[0]
    return named_model(name)
