"""Models by name: a file in ``models/zoo`` registers what it builds, and no list elsewhere is edited."""

import difflib
import importlib
import inspect
import os
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from anysize.errors import UsageError
from anysize.models.network import Network

__all__ = ["build_model", "create_model", "list_models", "model_name", "register_model"]

Builder = Callable[..., Network]

_BUILDERS: dict[str, Builder] = {}


def register_model(builder: Builder) -> Builder:
    """Register a function or class under its own name, ``FcnSmall`` as ``fcn_small``.

    It takes ``num_classes``, ``in_channels`` and options.
    """
    _BUILDERS[model_name(builder)] = builder
    return builder


def model_name(builder: Builder) -> str:
    """Return the name of a registered function or class."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in builder.__name__).lstrip("_")


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


def build_model(name: str, *, num_classes: int, in_channels: int, options: Mapping[str, Any]) -> Network:
    """Build a network with random weights, from options that may come out of a file: they can load nothing.

    Args:
        name, num_classes, in_channels: see `create_model`.
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
        close = difflib.get_close_matches(unknown[0], [*allowed, "num_classes", "in_channels"], n=1, cutoff=0.7)
        raise UsageError(
            f"{name} has no option {', '.join(unknown)}; its options are {', '.join(allowed) or 'none'}",
            hint=f"did you mean {close[0]}?" if close else None,
        )
    return builders[name](num_classes=num_classes, in_channels=in_channels, **options)


def create_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: str | os.PathLike[str] | None = None,
    head: str = "load",
    stem: str = "load",
    **options: Any,
) -> Network:
    """Build a network by name, with random weights or those of a file.

    Weights for 1,000 classes in a network for 2 are an error, as random heads that nobody asked for would look
    trained: ``head="new"`` asks for them. So are weights for 3 channels in a network for 4, unless ``stem`` says what
    becomes of the first convolution. What else is worth knowing of the weights, such as another library's padding,
    comes as a warning; `load_weights` returns it, and much more, as a report.

    Args:
        name: one of `list_models`.
        num_classes: the number of outputs a pixel or an image.
        in_channels: 1 for grey, 3 for colour.
        weights: a path, a URL, a hub or a published name, as for `anysize.load_weights`; None for random ones.
        head: ``load``, or ``new`` for heads (and behind a pretrained encoder, a decoder) with random weights.
        stem: ``load``, ``adapt`` or ``repeat``, as for `anysize.load_weights`.
        options: the network's own keyword arguments.

    Raises:
        UsageError: an unknown name, option or number.
        CheckpointError: weights that cannot be had, or do not fit.
    """
    if weights is None and (head, stem) != ("load", "load"):
        raise UsageError(f"head is {head!r} and stem {stem!r}, but there are no weights", hint="weights=SOURCE")
    model = build_model(name, num_classes=num_classes, in_channels=in_channels, options=options)
    if weights is not None:
        # Imported here: it builds networks by name, to say which of them a file fits.
        loading = importlib.import_module("anysize.models.weights.loading")
        for warning in loading.load_weights(model, weights, head=head, stem=stem).warnings:
            warnings.warn(warning, stacklevel=2)
    return model
