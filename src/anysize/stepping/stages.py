"""Stages of training: the head first, behind a backbone that stands still; then everything."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from anysize.errors import UsageError
from anysize.models import Network
from anysize.stepping.batch_norm import (
    apply_policy,
    batch_norms,
    freeze_batch_norm,
    frozen_layers,
    live_layers,
    thaw_batch_norm,
)

__all__ = ["Stage", "freeze_backbone", "head_parameters"]

_BACKBONES = ("encoder", "backbone")
"""What segmenters call what they are built on: ours and segmentation_models_pytorch's, torchvision's."""

_HEADS = ("fc", "classifier", "head")
"""What torchvision and timm call the last layers of classifiers."""


def head_parameters(model: nn.Module, head_names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the names of the parameters that belong to the head; all others are the backbone.

    Args:
        model: any module.
        head_names: names of modules or parameters, such as ``fc`` or ``decoder.final``: a name stands for all below
            it. By default, of a segmenter (anything with a module ``encoder`` or ``backbone``), everything but that:
            decoder and head are new together. Otherwise the layers that the network itself names
            (`anysize.models.Network.head_names`), or its ``fc``, ``classifier`` or ``head``.

    Raises:
        UsageError: a name that is none of the network's; a head that is nothing, or everything; no name and nothing
            to go by.
    """
    return _Division(model, head_names).parameters


@dataclass(frozen=True)
class Stage:
    """What a stage holds still, and how to let go of it."""

    parameters: tuple[str, ...] = ()
    """Names of parameters that are not trained, and were."""
    batch_norms: tuple[str, ...] = ()
    """Names of layers of batch normalisation that are frozen, and were not."""
    live: tuple[str, ...] = ()
    """Those among them that followed the policy ``train``, and do so again."""

    def undo(self, model: nn.Module) -> None:
        """Train the parameters again, and let batch normalisation move as before."""
        parameters = dict(model.named_parameters())
        for name in self.parameters:
            parameters[name].requires_grad_(True)
        if self.batch_norms:
            thaw_batch_norm(model, self.batch_norms)
        if self.live:
            apply_policy(model, "train", layers=self.live)


def freeze_backbone(model: nn.Module, head_names: Iterable[str] | None = None) -> Stage:
    """Train the head alone: no gradients for the backbone, and its batch normalisation is frozen, too.

    Its running statistics then are those that its weights were trained with; with statistics of small batches the head
    would learn from features that no later stage has.

    Args:
        model: changed in place.
        head_names: see `head_parameters`.

    Returns:
        What was changed; ``.undo(model)`` takes it back.

    Raises:
        UsageError: as `head_parameters`; batch normalisation without running statistics.
    """
    division = _Division(model, head_names)
    frozen, live = set(frozen_layers(model)), set(live_layers(model))
    layers = tuple(name for name, _ in batch_norms(model) if name not in frozen and not division.is_head(name))
    freeze_batch_norm(model, layers)
    head = set(division.parameters)
    held = [name for name, parameter in model.named_parameters() if name not in head and parameter.requires_grad]
    parameters = dict(model.named_parameters())
    for name in held:
        parameters[name].requires_grad_(False)
    return Stage(tuple(held), layers, tuple(name for name in layers if name in live))


class _Division:
    """Which names are the head's."""

    def __init__(self, model: nn.Module, head_names: Iterable[str] | None) -> None:
        self._backbone: tuple[str, ...] = ()
        self._head = tuple(head_names or ())
        if head_names is None:
            self._backbone, self._head = _found(model)
        else:
            _require_known(model, self._head)
        names = [name for name, _ in model.named_parameters()]
        self.parameters = tuple(name for name in names if self.is_head(name))
        if not self.parameters or len(self.parameters) == len(names):
            given = ", ".join(self._head) if self._head else "none named"
            found = f"everything but {', '.join(self._backbone)}" if self._backbone else given
            raise UsageError(
                f"the head of {type(model).__name__} ({found}) has {len(self.parameters)} of its {len(names)} "
                "parameters; head and backbone must both have some",
                hint=f"head_names=[...], of {_children(model)}",
            )

    def is_head(self, name: str) -> bool:
        """Whether a module or parameter belongs to the head."""
        return not _is_below(name, self._backbone) if self._backbone else _is_below(name, self._head)


def _found(model: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the backbone, or of the head, by what networks call them."""
    children = dict(model.named_children())
    backbone = tuple(name for name in _BACKBONES if name in children)[:1]
    if backbone:
        return backbone, ()
    heads = model.head_names if isinstance(model, Network) else tuple(name for name in _HEADS if name in children)[:1]
    if not heads:
        raise UsageError(
            f"{type(model).__name__} does not say which of its layers are the head",
            hint=f"head_names=[...], of {_children(model)}",
        )
    return (), tuple(heads)


def _require_known(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    known = {name for name, _ in model.named_modules()} | {name for name, _ in model.named_parameters()}
    for prefix in prefixes:
        if not prefix or prefix not in known:
            close = difflib.get_close_matches(prefix, known, n=1)
            raise UsageError(
                f"{type(model).__name__} has no module or parameter named {prefix!r}",
                hint=f"did you mean {close[0]}?" if close else f"its modules are {_children(model)}",
            )


def _is_below(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _children(model: nn.Module) -> str:
    return ", ".join(name for name, _ in model.named_children()) or "none"
