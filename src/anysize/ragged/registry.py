"""Which rule works which torch function: exact, or refused by name."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from anysize.errors import UnsupportedOperatorError

__all__ = [
    "Rule",
    "calling_module",
    "function_name",
    "lookup_rule",
    "refusal",
    "register_rule",
    "registered_functions",
    "spellings",
    "works_in_place",
]

Function = Callable[..., Any]
R = TypeVar("R", bound=Function)


@dataclass(frozen=True, slots=True)
class Rule:
    """How a function works on ragged batches."""

    work: Function
    """Called as ``work(function, *args, **kwargs)``."""
    whole_group: bool = False
    """It looks at all images at once, so it is given a `RaggedGroup` whole, not canvas by canvas."""
    per_image_operands: bool = False
    """A plain tensor with one entry an image (N, C, 1, 1) may stand beside the batch, and is cut up with it."""
    any_layout: bool = False
    """It knows how to work on batches whose axes are not (N, C, *spatial); for other rules they are refused."""


_RULES: dict[Function, Rule] = {}


def register_rule(
    *functions: Function, whole_group: bool = False, per_image_operands: bool = False, any_layout: bool = False
) -> Callable[[R], R]:
    """Make the decorated function the rule of each of ``functions``.

    A rule is called as ``rule(function, *args, **kwargs)`` with the arguments of the call as they came: ragged batches
    where the model passed them. It returns what the function returns: a `RaggedBatch` where space survives, a plain
    tensor where it is gone. Its contract: every real pixel of the result is what the function gives for that image
    alone; the gradient that it sends into the padding of its inputs is zero wherever the gradient in the padding of
    its outputs is; what it leaves in the padding is finite unless the result says that it is unknown.

    A rule registered later takes the place of an earlier one.

    Args:
        functions: as ``__torch_function__`` names them: ``torch.nn.functional.relu``, ``torch.Tensor.add``...
        whole_group: give the rule a `RaggedGroup` whole, because it looks at all images at once (batch
            normalisation); otherwise it is called for each of the group's batches.
        per_image_operands: plain tensors with one entry an image are cut up together with a group.
        any_layout: the rule reads `RaggedBatch.layout`. Without it, it is only ever given batches (N, C, *spatial).
    """

    def register(work: R) -> R:
        for function in functions:
            _RULES[function] = Rule(work, whole_group, per_image_operands, any_layout)
        return work

    return register


def spellings(name: str) -> tuple[Function, ...]:
    """Return all functions by which torch spells ``name``: function, method, functional and their in-place forms."""
    places = (torch, functional, torch.Tensor, torch.special)
    found = [getattr(place, spelled, None) for place in places for spelled in (name, f"{name}_")]
    unique: list[Function] = []
    for function in found:
        if callable(function) and function not in unique:
            unique.append(function)
    return tuple(unique)


def works_in_place(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call changes its first argument: ``relu_``, ``+=``, ``F.relu(x, inplace=True)``."""
    name = getattr(function, "__name__", "")
    if name.startswith("__"):
        return name.startswith("__i") and name != "__invert__"
    if name.endswith("_"):
        return True
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    code = getattr(function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    return "inplace" in names and len(args) > names.index("inplace") and bool(args[names.index("inplace")])


def registered_functions() -> Mapping[Function, Rule]:
    """Return the registry: function to rule."""
    return dict(_RULES)


def lookup_rule(function: Function) -> Rule | None:
    """Return the rule of ``function``, if it has one."""
    return _RULES.get(function)


def refusal(function: Function, reason: str) -> UnsupportedOperatorError:
    """Make the error that refuses ``function``: name, module path and ``reason``."""
    name = function_name(function)
    path = calling_module()
    place = f" (called in {path})" if path else ""
    return UnsupportedOperatorError(
        f"{name}{place} was given a ragged batch: {reason}",
        hint="batch images of one size together, or write a rule: anysize.register_rule(function)",
    )


def function_name(function: Function) -> str:
    """Return the name by which people know ``function``; its own may be that of an inner one."""
    for prefix, place in (("torch.nn.functional", functional), ("torch", torch), ("torch.Tensor", torch.Tensor)):
        for name in dir(place):
            if not (name.startswith("_") and place is not torch.Tensor) and getattr(place, name, None) is function:
                return f"{prefix}.{name}"
    return str(getattr(function, "__qualname__", function))


def calling_module() -> str | None:
    """Name the innermost module on the call stack, as a path from the outermost one.

    Read off the stack when an error is raised, so that it costs nothing while all is well.
    """
    modules: list[nn.Module] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, nn.Module) and (not modules or modules[-1] is not candidate):
            modules.append(candidate)
        frame = frame.f_back
    if not modules:
        return None
    inner, outer = modules[0], modules[-1]
    path = next((name for name, module in outer.named_modules() if module is inner), "")
    return ".".join(part for part in (type(outer).__name__, path) if part)
