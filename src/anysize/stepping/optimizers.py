"""Any optimiser of ``torch.optim`` by name: backbone and head at rates of their own, weight decay where it belongs."""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from anysize.errors import CheckpointError, UsageError
from anysize.stepping.stages import head_parameters

__all__ = [
    "create_optimizer",
    "default_lr",
    "default_weight_decay",
    "list_optimizers",
    "load_optimizer_state",
    "optimizer_state",
    "set_lr",
    "takes_momentum",
    "undecayed_parameters",
]

_REFUSED = {
    "LBFGS": "it calls the loss several times a step, and a step here is one pass over its images",
    "SparseAdam": "it takes sparse gradients alone, and those of convolutions are dense",
    "Muon": "it takes matrices alone, and the weights of convolutions have four axes",
}

# Where torch's own default is for other work; Adadelta's unit is 1 (Zeiler 2012, algorithm 1).
_LR = {"adamw": 2e-3, "sgd": 0.05, "adam": 2e-3}

# Decoupled, AdamW's is a share of the weight (Loshchilov and Hutter 2019); SGD's is a gradient (He et al. 2016, section
# 3.4), as that of any other, for which torch has 0.
_DECAY = {"adamw": 0.02, "sgd": 1e-4}

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)

# What this library sets itself, or what does not go together with a step made of several passes.
_KEPT = {"params", "lr", "weight_decay", "maximize", "differentiable", "capturable"}


def list_optimizers() -> list[str]:
    """Return the names that `create_optimizer` knows, as ``torch.optim`` writes them, sorted."""
    return sorted(name for name in _kinds() if name not in _REFUSED)


def default_lr(name: str) -> float:
    """Return the learning rate for an optimiser of which nothing else is known.

    0.002 for AdamW and Adam, 0.05 for SGD, torch's own default for any other (Adadelta 1.0).

    Raises:
        UsageError: as `create_optimizer`.
    """
    kind = _kind(name)
    return _LR.get(kind.__name__.lower(), float(_arguments(kind)["lr"].default))


def default_weight_decay(name: str) -> float:
    """Return the weight decay for an optimiser of which nothing else is known.

    0.02 for AdamW, 0.0001 for SGD, torch's own default for any other, 0 for one that has none.

    >>> default_weight_decay("adamw"), default_weight_decay("sgd"), default_weight_decay("rmsprop")
    (0.02, 0.0001, 0.0)

    Raises:
        UsageError: as `create_optimizer`.
    """
    kind = _kind(name)
    own = _arguments(kind).get("weight_decay")
    return _DECAY.get(kind.__name__.lower(), 0.0 if own is None else float(own.default))


def takes_momentum(name: str) -> bool:
    """Whether an optimiser has a momentum, or Adam's first beta, for `create_optimizer` to set.

    >>> [name for name in list_optimizers() if not takes_momentum(name)]
    ['ASGD', 'Adadelta', 'Adafactor', 'Adagrad', 'Rprop']

    Raises:
        UsageError: as `create_optimizer`.
    """
    return bool({"momentum", "betas"} & set(_arguments(_kind(name))))


def create_optimizer(
    model: nn.Module,
    *,
    name: str,
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = 0.0,
    backbone_lr: float = 1.0,
    head_names: Iterable[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimiser with four groups of parameters: backbone and head, each with and without weight decay.

    Frozen parameters have their place in it, too, and wait: an optimiser passes over what has no gradient, decay
    included. So a stage that lets go of the backbone changes ``requires_grad`` and nothing else, and the state of a
    checkpoint finds its parameters in any stage. Each group has ``param_names`` and ``lr_scale``.

    Args:
        model: any module.
        name: of a class in ``torch.optim``, in upper or lower case.
        lr: the head's learning rate; by default `default_lr`.
        momentum: of SGD (then Nesterov's) and RMSprop, beta1 of the Adams; None, and any other optimiser, for
            torch's own.
        weight_decay: on all but `undecayed_parameters`; what it means (a gradient, or a share of the weight in AdamW)
            is the optimiser's; None for `default_weight_decay`.
        backbone_lr: factor on ``lr`` for the backbone.
        head_names: see `anysize.stepping.stages.head_parameters`; asked only where ``backbone_lr`` is not 1.
        options: further arguments of the class, such as ``{"rho": 0.95}``.

    Raises:
        UsageError: an unknown optimiser or option, or one that cannot work here; a number out of range; no parameters;
            no head.
    """
    kind = _kind(name)
    rate = default_lr(name) if lr is None else lr
    decay = default_weight_decay(name) if weight_decay is None else weight_decay
    if rate <= 0 or backbone_lr <= 0 or decay < 0:
        raise UsageError(
            f"lr is {rate:g}, backbone_lr {backbone_lr:g} and weight_decay {decay:g}; the rates must be greater "
            "than 0, the decay at least 0",
            hint="--head-epochs holds the backbone still" if backbone_lr == 0 else None,
        )
    if decay and "weight_decay" not in _arguments(kind):
        raise UsageError(f"{kind.__name__} has no weight decay, and weight_decay is {decay:g}", hint="--weight-decay 0")
    groups = _groups(model, rate, decay, backbone_lr, head_names)
    keywords = _keywords(kind, momentum, dict(options or {}))
    if "weight_decay" not in _arguments(kind):
        for group in groups:
            del group["weight_decay"]
    try:
        optimizer: torch.optim.Optimizer = kind(groups, lr=rate, **keywords)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"torch.optim.{kind.__name__} does not take {_listed({'lr': rate, **keywords})}: {error}"
        ) from error
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the head's learning rate; every group keeps its factor (``lr_scale``) on it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def undecayed_parameters(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters without weight decay: biases, normalisation layers, and vectors of any other kind.

    Decay holds down the gain of a layer. A normalisation layer follows most convolutions and takes their gain out
    again, and a bias has none; so there decay only fights what the loss asks for (He et al. 2019, arXiv 1812.01187,
    section 3.1). By the type of the module, because a layer normalisation over (C, H, W) has three axes; and by axes
    longer than 1 as well, because scales that stand alone (layer scale, the slope of PReLU) have one such at most and
    no type in common. The weight of a convolution is a weight whatever its shape.
    """
    names = []
    for prefix, module in model.named_modules():
        is_norm, is_layer = _is_norm(module), isinstance(module, _LAYERS)
        for name, parameter in module.named_parameters(recurse=False):
            is_vector = parameter.dim() <= 1 or (not is_layer and sum(side > 1 for side in parameter.shape) <= 1)
            if is_norm or is_vector or name == "bias" or name.endswith("_bias"):
                names.append(f"{prefix}.{name}" if prefix else name)
    return tuple(names)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """Return an optimiser's state by the names of its parameters, for a checkpoint: tensors only."""
    return {
        name: {key: torch.as_tensor(value) for key, value in optimizer.state[parameter].items() if value is not None}
        for name, parameter in _named(optimizer).items()
        if optimizer.state.get(parameter)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put what `optimizer_state` gave back, whatever groups the parameters are in now.

    Raises:
        CheckpointError: state of a parameter that the optimiser does not have, or of another shape; nothing is changed.
    """
    named = _named(optimizer)
    unknown = [name for name in state if name not in named]
    if unknown:
        raise CheckpointError(
            f"the optimiser's state is of parameters that the network does not have: {', '.join(unknown[:5])}",
            hint="resume with the network and options of the run",
        )
    for name, values in state.items():
        for key, value in values.items():
            if value.dim() and key != "step" and value.shape != named[name].shape and value.numel() > 1:
                if type(optimizer).__name__ == "Adafactor":  # keeps rows and columns
                    continue
                raise CheckpointError(
                    f"the optimiser's {key} of {name} has the shape {tuple(value.shape)}, the parameter "
                    f"{tuple(named[name].shape)}",
                    hint="resume with the network and options of the run",
                )
    content = optimizer.state_dict()
    numbers = [number for group in content["param_groups"] for number in group["params"]]
    by_name = dict(zip(named, numbers, strict=True))
    content["state"] = {by_name[name]: dict(values) for name, values in state.items()}
    optimizer.load_state_dict(content)


def _named(optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    }


def _groups(
    model: nn.Module, lr: float, weight_decay: float, backbone_lr: float, head_names: Iterable[str] | None
) -> list[dict[str, Any]]:
    named = list(model.named_parameters())
    if not named:
        raise UsageError(f"{type(model).__name__} has no parameters, so there is nothing to train")
    head = set(head_parameters(model, head_names)) if backbone_lr != 1 else {name for name, _ in named}
    undecayed = set(undecayed_parameters(model))
    groups = []
    for is_head in (False, True):
        for is_decayed in (True, False):
            found = [(n, p) for n, p in named if (n in head) == is_head and (n not in undecayed) == is_decayed]
            scale = 1.0 if is_head else backbone_lr
            if found:
                decay = weight_decay if is_decayed else 0.0
                groups.append({"params": found, "lr": lr * scale, "lr_scale": scale, "weight_decay": decay})
    return groups


@cache
def _kinds() -> dict[str, Any]:
    return {
        name: kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    }


def _kind(name: str) -> Any:
    by_lower = {known.lower(): known for known in _kinds()}
    found = by_lower.get(name.lower())
    if found is None:
        names = [known.lower() for known in list_optimizers()]
        close = difflib.get_close_matches(name.lower(), names, n=2)
        raise UsageError(
            f"torch.optim has no optimiser named {name!r}; it has {', '.join(names)}",
            hint=f"did you mean {' or '.join(close)}?" if close else None,
        )
    if found in _REFUSED:
        raise UsageError(
            f"torch.optim.{found} cannot train here: {_REFUSED[found]}", hint="--opt adamw, or sgd, or another"
        )
    return _kinds()[found]


def _arguments(kind: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind).parameters


def _keywords(kind: Any, momentum: float | None, options: dict[str, Any]) -> dict[str, Any]:
    """Momentum and options, as the class takes them."""
    arguments = _arguments(kind)
    known = [name for name in arguments if name not in _KEPT]
    unknown = sorted(set(options) - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        raise UsageError(
            f"torch.optim.{kind.__name__} has no option {', '.join(unknown)}; its options are {', '.join(known)}",
            hint=f"did you mean {close[0]}?" if close else None,
        )
    keywords = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    if momentum is not None and "momentum" in arguments:
        keywords.setdefault("momentum", momentum)
    elif momentum is not None and "betas" in arguments:
        keywords.setdefault("betas", (momentum, *arguments["betas"].default[1:]))
    if "nesterov" in arguments and keywords.get("momentum") and not keywords.get("dampening"):
        keywords.setdefault("nesterov", True)
    return keywords


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _is_norm(module: nn.Module) -> bool:
    """Torch's normalisation layers, what derives from them, and others' that say so: ``RMSNorm2d``, ``GRN``."""
    kinds = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm | nn.LocalResponseNorm
    return isinstance(module, kinds) or "norm" in type(module).__name__.lower()
