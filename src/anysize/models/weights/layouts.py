"""How other libraries name the tensors of our networks: tables found by themselves, recognised by a file's names."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from anysize.errors import CheckpointError, UsageError

__all__ = ["OURS", "Layout", "layouts_of", "own_modules", "recognise"]

OURS = "anysize"
"""The name of the layout that changes no name."""

# Absent from old files, and from those that were converted: nothing depends on it but an average over all batches.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names that one library gives to the tensors of one of our networks, or of a part of it."""

    name: str
    """The library: ``timm``, ``torchvision``, ``smp``."""
    modules: Mapping[str, str]
    """Our module -> the library's, for each with tensors that both have; the tensors in it are named alike."""
    ignored: frozenset[str] = frozenset()
    """The library's modules for which our network has no place: the classifier behind an encoder."""
    linear: frozenset[str] = frozenset()
    """Our convolutions that are linear layers in the library: (K, C, H, W) here, (K, C H W) there."""
    warnings: tuple[str, ...] = ()
    """What else differs: options under which the library's network computes something else than ours."""
    ours: Mapping[str, str] = field(init=False, repr=False)
    """The library's module -> ours."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ours", {theirs: ours for ours, theirs in self.modules.items()})

    @classmethod
    def renamed(
        cls, model: nn.Module, name: str, rename: Callable[[str], str], *, warnings: Iterable[str] = ()
    ) -> "Layout":
        """Make the layout in which each module of a network has another name.

        Classifiers that were taken off the network, as those of encoders are, are known to have no place.
        """
        modules = {ours: rename(ours) for ours in own_modules(model)}
        heads = getattr(type(model), "head_names", ())
        ignored = frozenset(rename(head) for head in heads if head not in modules)
        return cls(name=name, modules=modules, ignored=ignored, warnings=tuple(warnings))

    def key(self, ours: str) -> str | None:
        """Return the library's name of our tensor, or None where it has none."""
        module, dot, leaf = ours.rpartition(".")
        return f"{self.modules[module]}{dot}{leaf}" if module in self.modules else None

    def knows(self, theirs: str) -> bool:
        """Whether a tensor of the library has a place here, or is known to have none."""
        module = theirs.rpartition(".")[0]
        return module in self.ours or module in self.ignored

    def pack(self, ours: str, tensor: Tensor) -> Tensor:
        """Turn our tensor into the library's shape."""
        return tensor.flatten(1) if ours.removesuffix(".weight") in self.linear and tensor.dim() == 4 else tensor

    def unpack(self, ours: str, tensor: Tensor, like: Tensor) -> Tensor:
        """Turn the library's tensor into our shape, where it holds as many numbers."""
        flat = ours.removesuffix(".weight") in self.linear and tensor.dim() == 2 and like.dim() == 4
        return tensor.reshape(-1, *like.shape[1:]) if flat and tensor.shape[1] == like[0].numel() else tensor


def own_modules(model: nn.Module) -> list[str]:
    """Return the names of the modules that hold tensors themselves, in order."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in model.state_dict()))


def layouts_of(model: nn.Module) -> list[Layout]:
    """Return the layouts in which weights of this network can come, our own first."""
    tables = importlib.import_module("anysize.models.weights.names")
    found = [Layout(name=OURS, modules={name: name for name in own_modules(model)})]
    for table in pkgutil.iter_modules(tables.__path__):
        found += importlib.import_module(f"{tables.__name__}.{table.name}").layouts(model)
    return found


def recognise(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    layout: str | None = None,
    marked: str | None = None,
) -> Layout:
    """Find the layout that a file is in by its names.

    Args:
        model: the network that the file is for; its heads may be absent from the file.
        tensors: the file's content.
        source: what the file is called in errors.
        layout: the name of the layout, where it is known.
        marked: what the file says of itself. Where our names are another library's, files without a mark are taken
            for that library's.

    Returns:
        The layout; where none fits, the one that shares most names with the file.

    Raises:
        UsageError: the network has no layout of this name.
        CheckpointError: the file fits several layouts that place its tensors differently.
    """
    known = layouts_of(model)
    if layout is not None:
        candidates = [candidate for candidate in known if candidate.name == layout]
        if not candidates:
            names = ", ".join(dict.fromkeys(candidate.name for candidate in known))
            raise UsageError(f"{type(model).__name__} has no layout {layout!r}; its layouts are {names}")
    else:
        candidates = known
    heads = getattr(model, "head_names", ())
    fitting = [candidate for candidate in candidates if _fits(model, candidate, tensors, heads)]
    different = [fit for fit in fitting if _placed(fit, tensors) != _placed(fitting[0], tensors)]
    if different:
        names = " and ".join(dict.fromkeys(fit.name for fit in (fitting[0], *different)))
        raise CheckpointError(
            f"the names in {source} fit the layouts {names}, which place its tensors differently",
            hint=f"say which: layout={fitting[0].name!r}",
        )
    if fitting:
        return min(fitting, key=lambda fit: (fit.name != marked, fit.name == OURS))
    return max(candidates, key=lambda candidate: sum(map(candidate.knows, tensors)))


def _fits(model: nn.Module, layout: Layout, tensors: Mapping[str, Tensor], heads: Iterable[str]) -> bool:
    """Whether the file has all names of the layout but those of heads and counters, and no others."""
    needed = {
        theirs
        for ours in model.state_dict()
        if (theirs := layout.key(ours)) is not None
        and ours.rpartition(".")[0] not in heads
        and not ours.endswith(_COUNTER)
    }
    return bool(needed) and needed <= tensors.keys() and all(map(layout.knows, tensors))


def _placed(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, str | None]:
    modules = {key.rpartition(".")[0] for key in tensors}
    return {module: layout.ours.get(module) for module in modules}
