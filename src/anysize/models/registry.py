"""Models by name: a file in ``models/zoo`` registers what it builds, and no list elsewhere is edited."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from anysize.errors import UsageError
from anysize.models.network import Network

__all__ = ["create_model", "list_models", "register_model"]

Builder = Callable[..., Network]

_BUILDERS: dict[str, Builder] = {}


def register_model(builder: Builder) -> Builder:
    """Register a function or class under its own name, ``FcnSmall`` as ``fcn_small``.

    It takes ``num_classes``, ``in_channels`` and options.
    """
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in builder.__name__).lstrip("_")
    _BUILDERS[name] = builder
    return builder


def _builders() -> dict[str, Builder]:
    zoo = importlib.import_module("anysize.models.zoo")
    for module in pkgutil.iter_modules(zoo.__path__):
        importlib.import_module(f"{zoo.__name__}.{module.name}")
    return _BUILDERS


def list_models() -> list[str]:
    """Return the names that `create_model` knows, sorted.

    >>> [name for name in list_models() if name.startswith("fcn")][-1]
    'fcn_small'
    """
    return sorted(_builders())


def create_model(name: str, *, num_classes: int, in_channels: int = 3, **options: Any) -> Network:
    """Build a network by name, with random weights.

    Args:
        name: one of `list_models`.
        num_classes: the number of outputs a pixel or an image.
        in_channels: 1 for grey, 3 for colour.
        options: the network's own keyword arguments.

    Raises:
        UsageError: an unknown name, option or number.
    """
    builders = _builders()
    if name not in builders:
        close = difflib.get_close_matches(name, builders, n=1)
        raise UsageError(
            f"there is no model named {name!r}; the models are {', '.join(sorted(builders))}",
            hint=f"did you mean {close[0]}?" if close else None,
        )
    if num_classes < 1 or in_channels < 1:
        raise UsageError(
            f"num_classes is {num_classes} and in_channels {in_channels}; both must be at least 1",
        )
    allowed = [p for p in inspect.signature(builders[name]).parameters if p not in ("num_classes", "in_channels")]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise UsageError(
            f"{name} has no option {', '.join(unknown)}; its options are {', '.join(allowed) or 'none'}",
        )
    return builders[name](num_classes=num_classes, in_channels=in_channels, **options)
