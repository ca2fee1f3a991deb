"""Checkpoints: all that a run needs to go on, in one safetensors file, and no pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from anysize.atomic import atomic_path
from anysize.errors import CheckpointError
from anysize.models.saved import check_fit
from anysize.stepping.optimizers import load_optimizer_state, optimizer_state, set_lr

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

_FORMAT = "2"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `load_checkpoint` found besides the tensors, which it has put in place."""

    progress: dict[str, Any]
    """Plain values: epoch, step, history and the like."""


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write model, optimiser, random state and ``progress`` (plain JSON values) to ``path``, atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for parameter, values in optimizer_state(optimizer).items():
        tensors |= {f"optimizer.{parameter}.{name}": value for name, value in values.items()}
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        metadata = {
            "format": _FORMAT,
            "progress": json.dumps(progress),
            "optimizer": type(optimizer).__name__,
            "lr": json.dumps(optimizer.param_groups[0]["lr"] / optimizer.param_groups[0].get("lr_scale", 1.0)),
        }
        save_file(contiguous, temporary, metadata=metadata)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    """Put the tensors of ``path`` into ``model`` and ``optimizer``, restore random state, return the rest.

    Raises:
        CheckpointError: no such file, damaged, or of another network or optimiser.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint at {path}", hint="--resume takes the folder of a run that was started before"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path} is no checkpoint of anysize in format {_FORMAT}",
                hint="of an older version its weights are what can be used: --pretrained RUN/weights/last.safetensors",
            )
        progress, lr = json.loads(metadata["progress"]), json.loads(metadata["lr"])
        kind = metadata["optimizer"]
    except (SafetensorError, OSError, json.JSONDecodeError, KeyError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    check_fit(path, model.state_dict(), parts["model"])
    model.load_state_dict(parts["model"])
    # By name: an optimiser takes the state of another without a word, and fails at its first step.
    if kind != type(optimizer).__name__:
        raise CheckpointError(
            f"the checkpoint {path} is of the optimiser {kind}, and this run has {type(optimizer).__name__}",
            hint="resume with the --opt of the run, or start a new one",
        )
    _restore_optimizer(optimizer, parts["optimizer"])
    set_lr(optimizer, lr)  # the next step sets its own, but the epoch may have none left
    torch.set_rng_state(parts["random"]["torch"])
    if "cuda" in parts["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(parts["random"]["cuda"])
    return Checkpoint(progress)


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(".")
        state.setdefault(parameter, {})[key] = tensor
    load_optimizer_state(optimizer, state)
