"""Tensors by name out of a file: safetensors, or a checkpoint of PyTorch read without running what is in it."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from anysize.errors import CheckpointError, UsageError

__all__ = ["TORCH_SUFFIXES", "DamagedFileError", "FileTensors", "mark", "read_tensors"]

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
"""What `torch.save` writes: a zip archive with a pickle, of which only tensors and plain values are ever loaded."""

# Training loops keep the weights beside the state of the optimiser.
_INNER_KEYS = ("state_dict", "model_state_dict", "model")
_MAX_DEPTH = 4  # a dictionary may hold itself
_MARK = "layout"
# DistributedDataParallel and torch.compile put theirs before each name.
_PREFIXES = ("module.", "_orig_mod.")


class DamagedFileError(CheckpointError):
    """A file that is not what its name says, or only a part of it: another download may be better."""


@dataclass(frozen=True)
class FileTensors:
    """What a file holds, and what was done to get at it."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    layout: str | None = None
    """Whose names it has, where the file says so itself (`mark`)."""


def mark(layout: str) -> dict[str, str]:
    """Return the metadata of a safetensors file that say whose names it has.

    One entry: the format keeps several in no order, and equal weights should make equal files.
    """
    return {_MARK: layout}


def read_tensors(path: Path) -> FileTensors:
    """Read all tensors of ``path`` (.safetensors, .pth, .pt, .bin, .ckpt) into memory, by name.

    A nested ``state_dict``, ``model_state_dict`` or ``model`` is looked into, and a prefix that all names share
    (``module.``, ``_orig_mod.``) is taken off; the notes say so.

    Raises:
        UsageError: another kind of file.
        DamagedFileError: it cannot be read.
        CheckpointError: it holds more than tensors and plain values, or no tensors.
    """
    suffix = path.suffix.lower()
    notes: list[str] = []
    layout = None
    if suffix == ".safetensors":
        try:
            found: Mapping[str, Any] = load_file(path)
            with safe_open(path, framework="pt") as file:
                layout = (file.metadata() or {}).get(_MARK)
        except (SafetensorError, OSError) as error:
            raise DamagedFileError(f"{path} is not a readable safetensors file: {error}") from error
    elif suffix in TORCH_SUFFIXES:
        found = _inner(path, _unpickle(path), notes)
    else:
        known = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise UsageError(f"{path} is no file of weights: its name ends in {suffix!r}", hint=f"one of {known}")
    return FileTensors(_without_prefixes(path, found, notes), tuple(notes), layout)


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage comes as any: IndexError, AssertionError, struct.error ...
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise CheckpointError(
                f"{path} is not a file of tensors only: loading it would run code that it names",
                hint="where you trust it, write torch.save(model.state_dict(), ...) and load that",
            ) from error
        raise DamagedFileError(
            f"{path} is not a readable file of torch.save ({type(error).__name__})",
            hint="the file may be cut off, or of another kind",
        ) from error


def _inner(path: Path, content: Any, notes: list[str]) -> Mapping[str, Any]:
    """Go down to where the tensors are."""
    where = ""
    for _ in range(_MAX_DEPTH):
        inside = [key for key in _INNER_KEYS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)]
        if not inside:
            break
        # Tensors beside it are none of the weights: the best accuracy so far, say.
        key = next((key for key in inside if _holds_tensors(content[key])), inside[0])
        content, where = content[key], f"{where}[{key!r}]"
    if not isinstance(content, Mapping) or not content or not all(isinstance(key, str) for key in content):
        raise CheckpointError(
            f"{path} holds {type(content).__name__}{where and f' at {where}'}, not tensors by name",
            hint=f"save model.state_dict(), or keep it under one of {', '.join(_INNER_KEYS)}",
        )
    if where:
        notes.append(f"the weights were at {where} in the file")
    return content


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def _oddity(value: Any) -> str | None:
    """Say why a value cannot be copied into a network: found out while copying, half of it would be overwritten."""
    if not isinstance(value, Tensor):
        return f"is {type(value).__name__}"
    if value.is_meta:
        return "holds no numbers (it is on the meta device)"
    return "is sparse" if value.layout != torch.strided else None


def _without_prefixes(path: Path, found: Mapping[str, Any], notes: list[str]) -> dict[str, Tensor]:
    odd = next(((key, oddity) for key, value in found.items() if (oddity := _oddity(value))), None)
    if odd or not found:
        hint = "save model.state_dict() and nothing beside it"
        if odd and isinstance(found[odd[0]], Tensor):
            hint = "save dense tensors with numbers: model.state_dict() of a network that is not on the meta device"
        shown = " ".join(odd) if odd else "it is empty"
        raise CheckpointError(f"{path} does not hold tensors by name: {shown}", hint=hint)
    tensors = dict(found)
    while prefix := next((start for start in _PREFIXES if all(key.startswith(start) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        notes.append(f"the prefix {prefix!r} was taken off all names")
    return tensors
