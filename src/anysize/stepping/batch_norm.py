"""What batch normalisation does in training: statistics of the batch, or running ones that never move.

A policy is put on a network by `apply_policy`. Parameters, buffers and their names in the state dict stay as they are,
and so does what ``isinstance`` says, so that ragged batches, compilation and checkpoints see the layers they know.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from anysize.errors import UsageError
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.recast import Role, recast, recast_all, restore

__all__ = [
    "BATCH_NORM_POLICIES",
    "BatchNormPolicy",
    "apply_policy",
    "batch_norms",
    "freeze_batch_norm",
    "frozen_layers",
    "live_layers",
    "num_values",
    "single_value_layers",
    "thaw_batch_norm",
]

BatchNormPolicy = Literal["train", "frozen", "recalibrate", "group"]

BATCH_NORM_POLICIES: tuple[BatchNormPolicy, ...] = get_args(BatchNormPolicy)


class _Frozen(Role):
    """Never in training mode, whoever asks for it: the running statistics are used, and nothing moves them."""

    def __setattr__(self, name: str, value: Any) -> None:
        # `nn.Module.train` sets the attribute, as anyone may; modules inside (timm's activations) go on as they are.
        super().__setattr__(name, False if name == "training" else value)


class _Live(Role):
    """Normalises by the batch where it has a variance, and by the running statistics where it has none.

    One image behind an image-level pooling gives one value a channel: torch refuses it. Such a pass is worked as in
    evaluation, gradients included, and moves no statistics.
    """

    def forward(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        own = super().forward  # type: ignore[misc]
        if not self.training or self.running_mean is None or not _has_one_value(self, input):
            return own(input, *args, **kwargs)
        if not hasattr(self, "met_single_value"):
            self.met_single_value = True
        with _in_evaluation(self):
            return own(input, *args, **kwargs)


def batch_norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Every batch normalisation of ``model`` with its name: torch's, synchronised ones and subclasses of either.

    Layers without a training mode, such as torchvision's ``FrozenBatchNorm2d``, are none of them: frozen for good.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield name, module


def apply_policy(
    model: nn.Module, policy: str, *, layers: Iterable[str] | None = None, freeze_affine: bool = False
) -> tuple[str, ...]:
    """Let the batch normalisation of ``model`` follow a policy; returns the names of the layers, in their order.

    ``train`` and ``recalibrate`` are the same while a step runs: statistics of the batch, and running ones where a
    channel has a single value (see `single_value_layers`). What ``recalibrate`` adds is
    `anysize.stepping.recalibrate` before each evaluation. ``frozen`` is `freeze_batch_norm`.

    Args:
        model: any module; another policy that it followed before is undone.
        policy: ``train``, ``frozen`` or ``recalibrate``.
        layers: names of the layers; by default all.
        freeze_affine: with ``frozen``, scale and shift are not trained either.

    Raises:
        UsageError: an unknown policy or layer; ``group``, which is a network of its own; ``frozen`` on a layer that
            has no running statistics.
    """
    if policy == "group":
        raise UsageError(
            "the policy 'group' is no setting of batch normalisation: it puts other layers in its place",
            hint="anysize.models.group_norm.with_group_norm(model), before weights are loaded and optimisers built",
        )
    if policy not in BATCH_NORM_POLICIES:
        raise UsageError(f"batch_norm is {policy!r}; it must be one of {', '.join(BATCH_NORM_POLICIES)}")
    if policy == "frozen":
        return freeze_batch_norm(model, layers, freeze_affine=freeze_affine)
    chosen = _chosen(model, layers)
    thaw_batch_norm(model, chosen)

    def change() -> None:
        for module in chosen.values():
            recast(module, _Live)

    recast_all(model, change)
    return tuple(chosen)


def freeze_batch_norm(
    model: nn.Module, layers: Iterable[str] | None = None, *, freeze_affine: bool = False
) -> tuple[str, ...]:
    """Use the running statistics of batch normalisation from here on, and never move them.

    That holds through ``.train()`` of the layer or of any module around it, ``copy.deepcopy``, pickling, loading of
    state dicts and activation checkpointing, until `thaw_batch_norm`. It does not hold through
    ``nn.SyncBatchNorm.convert_sync_batchnorm``, which makes new layers: convert first; `BatchNormGuard` finds out.

    Args:
        model: any module.
        layers: names of the layers; by default all.
        freeze_affine: do not train scale and shift either. They are a choice of their own: with fixed statistics they
            are a plain linear layer, which may be trained on batches of any size.

    Returns:
        The names of the layers, in their order.

    Raises:
        UsageError: no such layer, or one without running statistics.
    """
    chosen = _chosen(model, layers)
    for name, module in chosen.items():
        if module.running_mean is None or isinstance(module.running_mean, nn.UninitializedBuffer):
            raise UsageError(
                f"{name or type(module).__name__} has no running statistics, so there is nothing to freeze it at",
                hint="build it with track_running_stats=True and load trained weights; a lazy layer needs one batch",
            )

    def change() -> None:
        for module in chosen.values():
            recast(module, _Frozen)
            module.training = False

    recast_all(model, change)
    for module in chosen.values() if freeze_affine else ():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                module.affine_was_frozen = True
    return tuple(chosen)


def thaw_batch_norm(model: nn.Module, layers: Iterable[str] | None = None) -> tuple[str, ...]:
    """Undo `freeze_batch_norm` and `apply_policy`: the layers are torch's again, and in their parent's mode.

    Returns:
        The names of the layers that were frozen.
    """
    chosen = _chosen(model, layers)
    frozen = tuple(name for name, module in chosen.items() if isinstance(module, _Frozen))

    def change() -> None:
        for name, module in chosen.items():
            restore(module)
            if name in frozen:
                module.train(model.get_submodule(name.rpartition(".")[0]).training if name else module.training)

    recast_all(model, change)
    for module in chosen.values():
        if module.__dict__.pop("affine_was_frozen", False):
            module.requires_grad_(True)
    return frozen


def frozen_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers that `freeze_batch_norm` holds."""
    return tuple(name for name, module in batch_norms(model) if isinstance(module, _Frozen))


def live_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers that `apply_policy` has put under ``train`` or ``recalibrate``."""
    return tuple(name for name, module in batch_norms(model) if isinstance(module, _Live))


def single_value_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of layers that met one value a channel in training since the last call, each told once for good.

    They used their running statistics for that pass: see `apply_policy`.
    """
    met = []
    for name, module in _chosen(model, None).items():
        if getattr(module, "met_single_value", None) is True:
            module.met_single_value = "told"
            met.append(name)
    return tuple(met)


def num_values(input: Any) -> int:
    """Return the values a channel of (N, C), (N, C, L)...: real ones; of a ragged batch being traced, the canvas'."""
    if isinstance(input, RaggedGroup):
        return sum(num_values(part) for part in input.parts)
    if isinstance(input, RaggedBatch):
        if not torch.compiler.is_compiling():
            return input.num_real
        input = input.canvas
    return int(input.numel() // max(input.shape[1], 1)) if input.dim() > 1 else 2


def _chosen(model: nn.Module, layers: Iterable[str] | None) -> dict[str, Any]:
    """The layers by name; a layer that is used in several places has its first name."""
    known = dict(batch_norms(model))
    if layers is None:
        return dict(known)
    names = tuple(layers)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"the network has no batch normalisation named {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )
    return {name: known[name] for name in known if name in names}


def _has_one_value(module: nn.Module, input: Any) -> bool:
    """Whether one value a channel is all that there is, on all ranks."""
    if not isinstance(input, Tensor | RaggedBatch | RaggedGroup):
        return False
    if num_values(input) > 1:
        return False
    # Each rank brings a value at least, and a rank that stayed away from the exchange would block the others.
    return not (isinstance(module, nn.SyncBatchNorm) and _num_ranks(module) > 1)


def _num_ranks(module: nn.SyncBatchNorm) -> int:
    distributed: Any = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return int(distributed.get_world_size(module.process_group or distributed.group.WORLD))


@contextmanager
def _in_evaluation(module: nn.Module) -> Iterator[None]:
    # The layer alone: what a subclass has inside (timm's drop and activation) stays in training.
    module.training = False
    try:
        yield
    finally:
        module.training = True
