"""Run a network once, on tensors without contents, and follow what each tensor sees of the image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

import anysize.models.summary.windows  # noqa: F401 - registers its rules
from anysize.models.summary.rules import CONSTANTS, RULES, Call, elementwise
from anysize.models.summary.state import Factor, State
from anysize.sizes.reach import Reach

__all__ = ["first_output", "follow"]


def follow(model: nn.Module, in_channels: int, size: Sequence[int]) -> State:
    """Return what the output of ``model`` sees of an image of ``size`` (height, width).

    Args:
        model: on the meta device, in evaluation mode.
        in_channels: of the image.
        size: (height, width).

    Returns:
        The state of the first output.
    """
    image = torch.empty(1, in_channels, *size, device="meta")
    with torch.no_grad(), _calls(model) as calls, _Follower(calls) as follower:
        follower.start(image)
        output = first_output(model(image))
    return follower.state_of(output) or State.constant(output.shape)


def first_output(output: Any) -> Tensor:
    """The tensor that counts: the first one of a tuple or a dictionary (the others are auxiliary heads)."""
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if not tensors:
        raise TypeError(f"the network returns {type(output).__name__}, which holds no tensor")
    return tensors[0]


@contextmanager
def _calls(model: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that are running now, the innermost last."""
    running: list[str] = []
    handles = []

    def leave(*_: object) -> None:
        running.pop()

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, running: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._states: Any = WeakTensorKeyDictionary()
        self._running = running
        # By the address of a storage, with a tensor that keeps it alive: an address that is free is used again.
        self._viewed: dict[int, Tensor] = {}
        self._confused: dict[int, tuple[Tensor, str]] = {}

    def start(self, image: Tensor) -> None:
        batch, channels, *lengths = image.shape
        space = tuple((Factor(length, Reach.image(length), axis),) for axis, length in enumerate(lengths))
        self._states[image] = State(((Factor(batch),), (Factor(channels),), *space))

    def state_of(self, tensor: Tensor) -> State | None:
        confused = self._confused.get(tensor.untyped_storage()._cdata)
        if confused is not None:
            return replace(State.constant(tensor.shape), unknown=confused[1])
        state: State | None = self._states.get(tensor)
        return state

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        states = [self.state_of(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [state for state in states if state is not None]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        name = func._schema.name.removeprefix("aten::")
        if func.is_view:
            self._viewed.update((output.untyped_storage()._cdata, output) for output in outputs)
        if known and outputs and name not in CONSTANTS:
            arguments = _bound(func, args, kwargs)
            self._note(func, name, arguments, known, outputs)
            self._watch(func, name, arguments.get("self"), len(known))
        return result

    def _note(self, func: Any, name: str, arguments: dict[str, Any], known: list[State], outputs: list[Tensor]) -> None:
        """Work out the states of the results."""
        unknown = next((state.unknown for state in known if state.unknown), None)
        shapes = [tuple(output.shape) for output in outputs]
        state: State | None = None
        if unknown is None:
            rule = RULES.get(name) or (elementwise if torch.Tag.pointwise in func.tags else None)
            state = rule(Call({**arguments, "_name": name}, self.state_of, shapes)) if rule is not None else None
        for output, shape in zip(outputs, shapes, strict=True):
            fitting = _fitting(state, shape)
            if fitting is None:
                fitting = replace(State.constant(shape), unknown=unknown or self._here(name))
            self._states[output] = fitting

    def _watch(self, func: Any, name: str, target: Any, num_known: int) -> None:
        """Take no chances where an operator writes in place what other tensors see, too, or sees only a part of it."""
        if not func._schema.is_mutable or not isinstance(target, Tensor):
            return
        storage = target.untyped_storage()
        in_part = storage.nbytes() != target.numel() * target.element_size()
        brings_more = num_known > 1 and storage._cdata in self._viewed
        if (in_part or brings_more) and storage._cdata not in self._confused:
            self._confused[storage._cdata] = (target, self._here(name))

    def _here(self, name: str) -> str:
        module = next((part for part in self._running[-1:] if part), "the network itself")
        return f"{name} in {module}"


def _bound(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults included."""
    bound = {}
    for number, argument in enumerate(func._schema.arguments):
        if number < len(args):
            bound[argument.name] = args[number]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
    return bound


def _fitting(state: State | None, shape: tuple[int, ...]) -> State | None:
    """Check ``state`` against a result's shape: a rule that is wrong there is no rule. Split channels may differ."""
    if state is None or len(state.dims) != len(shape):
        return None
    for number, (length, found) in enumerate(zip(shape, state.shape, strict=True)):
        if length != found:
            if any(factor.reach is not None for factor in state.dims[number]):
                return None
            state = state.with_dim(number, (Factor(length),))
    return state
