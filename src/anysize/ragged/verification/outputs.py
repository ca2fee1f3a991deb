"""What a model returns, as named lists of one tensor an image."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import RaggedBatch
from anysize.ragged.group import RaggedGroup

__all__ = ["Images", "joined", "largest", "relative_error", "split"]

Images = list[Tensor]
"""One tensor an image, without the batch axis."""


def split(output: Any) -> dict[str, Images]:
    """Split a batch's output by path (``out``, ``aux``, ``0.1``) and then by image.

    Tuples, lists, mappings, named tuples and dataclasses are followed. What has no batch axis (numbers, None, scalar
    tensors) is left out.
    """
    found: dict[str, Images] = {}
    for path, leaf in _leaves(output, ""):
        if isinstance(leaf, RaggedBatch | RaggedGroup):
            found[path or "out"] = leaf.unbind()
        elif leaf.dim():
            found[path or "out"] = list(leaf)
    return found


def joined(alone: Sequence[Any]) -> dict[str, Images]:
    """As `split`, from the outputs of each image alone, (1, ...) each."""
    parts = [split(output) for output in alone]
    return {path: [part[path][0] for part in parts] for path in parts[0] if all(path in part for part in parts)}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor | RaggedBatch | RaggedGroup):
        yield path, value
        return
    items: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = list(zip(value._fields, value, strict=True))
    elif isinstance(value, tuple | list):
        items = list(enumerate(value))
    for name, inner in items:
        yield from _leaves(inner, f"{path}.{name}" if path else str(name))


def largest(tensors: Sequence[Tensor | None]) -> float:
    """The largest magnitude; NaN if there is a NaN, zero where there is nothing."""
    sizes = [float(t.detach().abs().max()) if t.is_floating_point() else float(t.detach().double().abs().max())
             for t in tensors if t is not None and t.numel()]  # fmt: skip
    return math.nan if any(math.isnan(size) for size in sizes) else max(sizes, default=0.0)


def relative_error(value: Tensor | None, truth: Tensor | None, scale: float) -> float:
    """The largest deviation, divided by ``scale``; infinite for NaN, another shape or a missing tensor."""
    if value is None or truth is None:
        # A gradient that is not there is a gradient of zero.
        present = value if truth is None else truth
        return 0.0 if present is None or not largest([present]) else math.inf
    if value.shape != truth.shape:
        return math.inf
    if not truth.numel():
        return 0.0
    deviation = float((value.detach().to(truth.device, torch.float64) - truth.detach().double()).abs().max())
    if math.isnan(deviation):
        return math.inf
    return deviation / scale if scale else (math.inf if deviation else 0.0)
