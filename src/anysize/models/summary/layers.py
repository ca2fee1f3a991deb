"""The layers of a network in the order in which they run: names, kinds, shapes and parameters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["Layer", "list_layers"]

Shape = tuple[int | str, ...]
"""Numbers; ``N`` for the batch, and ``?`` for what depends on the image's size (alone: the number of dimensions)."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module that a forward pass in evaluation mode runs, or one that holds parameters all the same."""

    name: str
    """Dotted, as in the state dict; '' is the network itself."""
    kind: str
    """Name of its class."""
    depth: int
    """How many modules it lies in: 0 for the network itself."""
    calls: int
    """How often it runs in a forward pass; 0 where only training uses it, or nothing."""
    shape: Shape | None
    """Of the (first) output of its first run."""
    parameters: int
    """Of this module and all within it; what is shared is counted where it comes first."""
    own_parameters: int
    """Of this module alone."""


def list_layers(model: nn.Module, in_channels: int, size: tuple[int, int]) -> list[Layer]:
    """List the modules of ``model``, each before those within it, in the order in which they first run.

    Args:
        model: on the meta device, in evaluation mode.
        in_channels: of the image.
        size: (height, width) of an image that it takes.
    """
    first = _shapes(model, torch.empty(2, in_channels, *size, device="meta"))
    # Another batch and another size: what changes is free. Far enough away to show behind every stride.
    larger = (size[0] + 128, size[1] + 256)
    try:
        second = _shapes(model, torch.empty(3, in_channels, *larger, device="meta"))
    except (RuntimeError, ValueError, AssertionError):  # it takes only some sizes
        second = _shapes(model, torch.empty(3, in_channels, *size, device="meta"))
    modules = dict(model.named_modules())
    order = _order(first, modules)
    counts = _own_parameters(modules)
    layers = []
    for name in sorted(modules, key=lambda name: _place(name, order)):
        shapes, others = first.get(name, []), second.get(name, [])
        layer = Layer(
            name=name,
            kind=type(modules[name]).__name__,
            depth=name.count(".") + 1 if name else 0,
            calls=len(shapes),
            shape=_free(shapes[0], others[0]) if shapes and others else None,
            parameters=sum(count for inner, count in counts.items() if _is_within(inner, name)),
            own_parameters=counts[name],
        )
        if layer.calls or layer.parameters:
            layers.append(layer)
    return layers


def _is_within(inner: str, outer: str) -> bool:
    return not outer or inner == outer or inner.startswith(f"{outer}.")


def _order(ran: Iterable[str], modules: Iterable[str]) -> dict[str, int]:
    """Number modules by when they first run; one that is no step of its own goes by the first of those within it."""
    order: dict[str, int] = {}
    for place, name in enumerate([*ran, *modules]):
        parts = name.split(".")
        for depth in range(len(parts)):
            order.setdefault(".".join(parts[: depth + 1]), place)
    return order


def _place(name: str, order: dict[str, int]) -> tuple[int, ...]:
    """Sort key: a module comes behind all that it lies in, and beside others when it first runs."""
    parts = name.split(".") if name else []
    return tuple(order[".".join(parts[: depth + 1])] for depth in range(len(parts)))


def _own_parameters(modules: dict[str, nn.Module]) -> dict[str, int]:
    seen: set[int] = set()
    counts = {}
    for name, module in modules.items():
        counts[name] = 0
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                counts[name] += parameter.numel()
    return counts


def _shapes(model: nn.Module, images: Tensor) -> dict[str, list[tuple[int, ...]]]:
    """By module, in the order of their first start, the shape of each run's first output."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    handles = []

    def started(name: str) -> None:
        shapes.setdefault(name, [])

    def finished(name: str, output: Any) -> None:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        shapes[name].append(tuple(tensors[0].shape) if tensors else ())

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: started(name)))
        handles.append(module.register_forward_hook(lambda *args, name=name: finished(name, args[-1])))
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _free(shape: Sequence[int], other: Sequence[int]) -> Shape | None:
    if len(shape) != len(other):
        return ("?",)
    if not shape:
        return None
    return tuple(
        length if length == length_too else "N" if place == 0 else "?"
        for place, (length, length_too) in enumerate(zip(shape, other, strict=True))
    )
