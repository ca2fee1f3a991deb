"""Modules that behave otherwise, and stay who they are: their class is exchanged, their tensors and names are not."""

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

from anysize.memory import disable_checkpointing, enable_checkpointing, is_checkpointed

__all__ = ["Role", "own_class", "recast", "recast_all", "restore"]


def recast(module: nn.Module, role: "type[Role]") -> None:
    """Put ``role`` before the class of ``module``, in place of any role that it had.

    By class, and not by a hook or a flag on the instance: copies, and whatever asks ``isinstance``, then see it too.
    """
    kind: Any = own_class(module)
    cast: Any = role
    module.__class__ = _cast(cast, kind)


def restore(module: nn.Module) -> None:
    """Give ``module`` its own class back."""
    kind: Any = own_class(module)
    module.__class__ = kind


def own_class(module: nn.Module) -> type[nn.Module]:
    """The class that ``module`` had before `recast`."""
    own: type[nn.Module] = getattr(type(module), "_own_class", type(module))
    return own


def recast_all(model: nn.Module, change: Callable[[], None]) -> None:
    """Run ``change``, which recasts modules of ``model``, with activation checkpointing out of the way.

    It exchanges classes, too, and where a layer is a block of its own (timm's, with their activations) both would
    be undone in the wrong order.
    """
    checkpointed = is_checkpointed(model)
    disable_checkpointing(model)
    try:
        change()
    finally:
        if checkpointed:
            enable_checkpointing(model)


class Role:
    """Base of what comes before a module's own class; copies and pickles of the module keep their role."""

    _own_class: Any
    _role: Any

    def __reduce_ex__(self, protocol: Any) -> Any:
        parts: Any = super().__reduce_ex__(protocol)
        if "_role" not in vars(type(self)):  # another class was made of this one, and says itself how it is copied
            return parts
        return _new, (self._role, self._own_class), *parts[2:]


@cache
def _cast(role: Any, kind: Any) -> Any:
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (role, kind), {**names, "_own_class": kind, "_role": role})


def _new(role: Any, kind: Any) -> Any:
    """An empty module of the class ``kind`` in ``role``; unpickling fills it."""
    made: Any = _cast(role, kind)
    return made.__new__(made)
