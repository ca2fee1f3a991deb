"""How each ATen operator passes on what its input sees; an operator that is not here makes everything behind unknown.

A rule takes a `Call` and returns the state of the (first) result, or None where it cannot say. Element-wise operators
need no rule: torch tags them as such.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from anysize.models.summary.reshaping import refactored
from anysize.models.summary.state import Factor, State
from anysize.sizes.reach import Taps, shifted_taps

__all__ = ["CONSTANTS", "RULES", "Call", "Rule", "elementwise", "rule"]

CONSTANTS = frozenset(
    ("zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty", "new_full", "arange")
)
"""Operators whose result takes the shape of a tensor, and nothing else from it."""


class Call:
    """One call of an operator: its arguments by name, and the states of those that depend on the image."""

    def __init__(
        self, arguments: dict[str, Any], state_of: Callable[[Tensor], State | None], shapes: list[tuple[int, ...]]
    ) -> None:
        self.arguments = arguments
        self._state_of = state_of
        self.shapes = shapes
        """Of the results."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def state(self, name: str) -> State:
        """State of a tensor argument; a constant where it does not depend on the image."""
        tensor: Tensor = self.arguments[name]
        return self._state_of(tensor) or State.constant(tensor.shape)

    def states(self) -> list[State]:
        """Of all tensors among the arguments, those in lists too."""
        found = []
        for value in self.arguments.values():
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, Tensor):
                    found.append(self._state_of(item) or State.constant(item.shape))
        return found

    def dims(self, name: str = "dim", *, of: str = "self") -> list[int]:
        """Dimensions that an argument names, counted from the first; all of them for None and []."""
        rank = self.arguments[of].dim()
        given = self.arguments[name]
        numbers: Iterable[int] = range(rank) if given is None or given == [] else _listed(given)
        return [number % rank for number in numbers]


Rule = Callable[[Call], State | None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule under the names of its operators, as ATen has them."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def _listed(value: int | Sequence[int]) -> Sequence[int]:
    return [value] if isinstance(value, int) else value


@rule("clone", "_to_copy", "detach", "alias", "lift_fresh", "contiguous", "native_dropout", "dropout", "to")
def elementwise(call: Call) -> State | None:
    """Each position of the result sees what those of the operands see together."""
    result: State | None = None
    for state in call.states():
        result = state if result is None else result.joined(state)
        if result is None:
            return None
    return result


@rule("copy_", "fill_", "zero_")
def _overwritten(call: Call) -> State | None:
    shape = call["self"].shape
    source = call.arguments.get("src")
    return State.constant(shape).joined(call.state("src")) if source is not None else State.constant(shape)


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unflatten")
def _view(call: Call) -> State | None:
    return refactored(call.state("self"), call.shapes[0])


@rule("permute")
def _permute(call: Call) -> State:
    state = call.state("self")
    return replace(state, dims=tuple(state.dims[number] for number in call.dims("dims")))


@rule("transpose")
def _transpose(call: Call) -> State:
    state = call.state("self")
    (first,), (second,) = call.dims("dim0"), call.dims("dim1")
    dims = list(state.dims)
    dims[first], dims[second] = dims[second], dims[first]
    return replace(state, dims=tuple(dims))


@rule("t")
def _t(call: Call) -> State:
    state = call.state("self")
    return replace(state, dims=state.dims[::-1])


@rule("squeeze")
def _squeeze(call: Call) -> State | None:
    state = call.state("self")
    named = call.dims() if "dim" in call.arguments else range(len(state.dims))
    gone = [number for number in named if state.shape[number] == 1]
    if any(factor.reach is not None for number in gone for factor in state.dims[number]):
        return None
    return replace(state, dims=tuple(dim for number, dim in enumerate(state.dims) if number not in gone))


@rule("unsqueeze")
def _unsqueeze(call: Call) -> State:
    state = call.state("self")
    place = call["dim"] % (len(state.dims) + 1)
    return replace(state, dims=(*state.dims[:place], (Factor(1),), *state.dims[place:]))


@rule("expand")
def _expand(call: Call) -> State | None:
    return call.state("self").joined(State.constant(call.shapes[0]))


@rule("cat", "stack")
def _join(call: Call) -> State | None:
    """Join along a dimension of channels: positions see what those of the parts see together."""
    states = call.states()
    rank = len(states[0].dims)
    stacked = len(call.shapes[0]) > rank
    place = call["dim"] % (rank + stacked)
    result: State | None = None
    for state in states:
        dim = () if stacked else state.dims[place]
        if any(factor.reach is not None for factor in dim):
            return None  # one image beside another
        rest = replace(state, dims=(*state.dims[:place], (Factor(1),), *state.dims[place + (not stacked) :]))
        result = rest if result is None else result.joined(rest)
        if result is None:
            return None
    return None if result is None else result.with_dim(place, (Factor(call.shapes[0][place]),))


def moved(state: State, dim: int, taps: Taps) -> State | None:
    """Let each position along ``dim`` read ``taps`` of the input."""
    factors = [factor for factor in state.dims[dim] if factor.length != 1 or factor.reach is not None]
    if all(factor.reach is None for factor in factors):
        return state.with_dim(dim, (Factor(len(taps)),))
    if len(factors) != 1 or factors[0].reach is None:
        return None  # two axes of space merged into one, or one merged with channels
    reach = factors[0].reach.read(taps)
    return state.with_dim(dim, (replace(factors[0], length=len(taps), reach=reach),))


@rule("slice")
def _slice(call: Call) -> State | None:
    (dim,) = call.dims()
    start = slice(call["start"], call["end"]).indices(call["self"].shape[dim])[0]
    return moved(call.state("self"), dim, shifted_taps(start, call.shapes[0][dim], call["step"]))


@rule("select")
def _select(call: Call) -> State | None:
    (dim,) = call.dims()
    state = call.state("self")
    if any(factor.reach is not None for factor in state.dims[dim]):
        return None  # one place of the image
    return replace(state, dims=state.dims[:dim] + state.dims[dim + 1 :])


@rule("unbind", "split", "split_with_sizes", "chunk")
def _parts(call: Call) -> State | None:
    """Split channels; parts of the image itself have different states, which one rule cannot give."""
    (dim,) = call.dims()
    state = call.state("self")
    if any(factor.reach is not None for factor in state.dims[dim]):
        return None
    if len(call.shapes[0]) < len(state.dims):
        return replace(state, dims=state.dims[:dim] + state.dims[dim + 1 :])
    return state.with_dim(dim, (Factor(call.shapes[0][dim]),))


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "logsumexp", "linalg_vector_norm", "norm", "var_mean")
def _reduce(call: Call) -> State | None:
    if "other" in call.arguments:  # torch.max(x, y)
        return elementwise(call)
    dims = call.dims() if "dim" in call.arguments else list(range(call["self"].dim()))
    return call.state("self").reduced(dims, keepdim=bool(call.arguments.get("keepdim", False)))


@rule("_softmax", "_log_softmax", "softmax", "log_softmax", "cumsum")
def _softmax(call: Call) -> State:
    return call.state("self").seen_whole(call.dims())


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def _batch_norm(call: Call) -> State:
    state = call.state("input")
    if call.arguments.get("training", False):
        return state.seen_whole([number for number in range(len(state.dims)) if number != 1])
    return state


@rule("native_group_norm")
def _group_norm(call: Call) -> State:
    state = call.state("input")
    return state.seen_whole(range(1, len(state.dims)))


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(call: Call) -> State:
    state = call.state("input")
    return state.seen_whole(range(len(state.dims) - len(call["normalized_shape"]), len(state.dims)))


def contracted(left: State, right: State, rank_kept: int) -> State | None:
    """Multiply (..., n, k) by (..., k, m); the first ``rank_kept`` dimensions are batches of both."""
    batch = replace(left, dims=left.dims[:rank_kept]).joined(replace(right, dims=right.dims[:rank_kept]))
    if batch is None:
        return None
    rows, columns = left.reduced([len(left.dims) - 1]), right.reduced([rank_kept])
    merged = rows.merged(columns)
    return replace(merged, dims=(*batch.dims, rows.dims[-1], columns.dims[-1]))


@rule("mm")
def _mm(call: Call) -> State | None:
    return contracted(call.state("self"), call.state("mat2"), 0)


@rule("bmm")
def _bmm(call: Call) -> State | None:
    return contracted(call.state("self"), call.state("mat2"), 1)


@rule("addmm")
def _addmm(call: Call) -> State | None:
    product = contracted(call.state("mat1"), call.state("mat2"), 0)
    return None if product is None else product.joined(call.state("self"))


@rule("baddbmm")
def _baddbmm(call: Call) -> State | None:
    product = contracted(call.state("batch1"), call.state("batch2"), 1)
    return None if product is None else product.joined(call.state("self"))


@rule("as_strided", "as_strided_")
def _as_strided(call: Call) -> State | None:
    """Only where nothing of space is left: behind a global pool, torch sets the strides of its result so."""
    state = call.state("self")
    return None if state.reaches() or state.shape != call.shapes[0] else state
