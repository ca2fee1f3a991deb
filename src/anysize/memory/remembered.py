"""The memory of a pass, measured once and remembered: ``memory.json`` in the cache folder."""

from dataclasses import asdict

import torch
from torch import nn

from anysize import remembered
from anysize.memory.measure import MemoryUse

__all__ = ["circumstances", "recall", "remember"]

_FORMAT = 3  # raised whenever the way of measuring changes
_STORE = remembered.Store("memory.json")


def circumstances(
    model: nn.Module, device: torch.device, *, optimizer: torch.optim.Optimizer | None, **mode: object
) -> str:
    """Return the key of a measurement; see `anysize.remembered.circumstances`."""
    return remembered.circumstances(model, device, optimizer=optimizer, format=_FORMAT, **mode)


def recall(key: str) -> MemoryUse | None:
    """Return what is remembered under ``key``, or None."""
    entry = _STORE.recall(key)
    try:
        use = None if entry is None else MemoryUse(**entry)  # type: ignore[arg-type]  # JSON keeps integers apart
    except TypeError:
        return None
    # Every pass takes something for each pixel: zeros are no figures.
    return use if use is not None and min(use.bytes_per_pixel, use.elements_per_pixel) > 0 else None


def remember(key: str, use: MemoryUse) -> None:
    """Keep ``use`` under ``key``."""
    _STORE.remember(key, asdict(use))
