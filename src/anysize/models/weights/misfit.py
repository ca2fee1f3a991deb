"""How tensors differ from those that a network has: one list, one error."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from anysize.errors import CheckpointError

__all__ = ["differences", "misfit"]

_MOST_LINES = 20


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Compare two state dicts: a line for each tensor that is missing, unexpected, or of another shape or kind."""
    lines = [f"missing: {name}" for name in wanted if name not in found]
    lines += [f"unexpected: {name}" for name in found if name not in wanted]
    for name, tensor in wanted.items():
        if name not in found:
            continue
        other = found[name]
        if other.shape != tensor.shape:
            lines.append(f"{name} has shape {tuple(other.shape)}, the network's is {tuple(tensor.shape)}")
        elif other.is_floating_point() != tensor.is_floating_point():
            lines.append(f"{name} holds {_kind(other)}, the network's holds {_kind(tensor)}")
    return lines


def misfit(source: object, lines: Sequence[str], *, hint: str) -> CheckpointError:
    """Make the error for weights that do not fit; of a long list, it shows some of each kind, and says so."""
    shown = _some_of_each_kind(lines)
    more = f"\n  ... and {len(lines) - len(shown)} more" if len(lines) > len(shown) else ""
    return CheckpointError(
        f"the weights in {source} do not fit the network:\n  " + "\n  ".join(shown) + more, hint=hint
    )


def _some_of_each_kind(lines: Sequence[str]) -> list[str]:
    if len(lines) <= _MOST_LINES:
        return list(lines)
    kinds: dict[str, list[str]] = {}
    for line in lines:
        start = line.partition(" ")[0]
        kinds.setdefault(start if start.endswith(":") else "", []).append(line)
    left, shown = _MOST_LINES, {}
    for turn, start in enumerate(sorted(kinds, key=lambda start: len(kinds[start]))):
        shown[start] = kinds[start][: left // (len(kinds) - turn)]  # what a short kind does not need, the others get
        left -= len(shown[start])
    return [line for start in kinds for line in shown[start]]


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
