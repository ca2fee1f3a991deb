"""Which layer of a file is which of a network: by name where Keras's layers have one, else by their order."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, TypeVar

from anysize.models.weights.keras.layers import KerasLayer

__all__ = ["NamedLayer", "pair_layers"]


class NamedLayer(Protocol):
    """What is asked of a layer, in a file or in Keras."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str | None: ...


T = TypeVar("T", bound=NamedLayer)


def pair_layers(
    wanted: Sequence[KerasLayer], found: Sequence[T], heads: Collection[str]
) -> tuple[list[tuple[KerasLayer, T]], list[str]]:
    """Pair layers, and list what is missing or unexpected.

    Layers with names of their own are found by them. Those that Keras numbers, and all layers of a file without names,
    are paired in the order of the network, class by class. A file with other names is not paired by order: two
    networks with equal shapes may differ in it.

    Args:
        wanted: the network's layers.
        found: the file's layers.
        heads: our names of the layers that a file may lack, or name otherwise.
    """
    by_name = {layer.name: layer for layer in found if layer.name is not None}
    pairs: list[tuple[KerasLayer, T]] = []
    missing = []
    left_wanted = []
    for layer in wanted:
        if layer.name in by_name:
            pairs.append((layer, by_name[layer.name]))
        elif layer.name is None or layer.ours in heads or not by_name:
            left_wanted.append(layer)
        else:
            missing.append(layer)
    taken = {id(layer) for _, layer in pairs}
    left_found = [layer for layer in found if id(layer) not in taken]
    unexpected: list[T] = []
    kinds = [*(layer.kind for layer in left_wanted), *(layer.kind for layer in left_found)]
    for kind in dict.fromkeys(kinds):
        mine = [layer for layer in left_wanted if layer.kind == kind]
        theirs = [layer for layer in left_found if layer.kind == kind]
        without = [layer for layer in mine if layer.ours not in heads]
        if len(theirs) == len(without):  # a file without its head
            mine = without
        pairs += zip(mine, theirs, strict=False)
        missing += mine[len(theirs) :]
        unexpected += theirs[len(mine) :]
    return pairs, [
        *_lines("missing", (layer.label for layer in missing)),
        *_lines("unexpected", map(_label, unexpected)),
    ]


def _lines(what: str, names: Iterable[str]) -> list[str]:
    return [f"{what}: {name}" for name in names]


def _label(layer: NamedLayer) -> str:
    return layer.name or f"a layer {layer.kind}"
