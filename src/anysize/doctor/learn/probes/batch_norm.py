"""Batch normalisation that does not do what it seems to: "frozen" with live statistics, momenta that never move them.

Whether training and evaluation see the same network is asked again after the overfit run (`anysize.doctor.learn.gap`).
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case

__all__ = ["ORDER", "probe"]

ORDER = 25
_FAST = 0.9  # torch's momentum is the share of the new batch: 0.9 and more are other libraries' 0.1 and less
_SLOW = 1e-4  # after 1,000 steps nine tenths of the start are still there


def probe(case: Case) -> list[Finding]:
    """Run a training pass, and see which statistics moved."""
    layers = {name: m for name, m in case.model.named_modules() if isinstance(m, _BatchNorm)}
    if not layers:
        return []
    return _live(case, layers) or _momenta(layers) or _never_estimated(case, layers) or _few_values(case)


def _live(case: Case, layers: dict[str, _BatchNorm]) -> list[Finding]:
    """Layers that are meant to be frozen, by their owner or by parameters that do not learn while others do."""
    learns = any(parameter.requires_grad for parameter in case.model.parameters())
    meant = _meant(case, layers)
    frozen = {
        name: layer
        for name, layer in layers.items()
        if name in meant or (learns and layer.weight is not None and not layer.weight.requires_grad)
    }
    if not frozen:
        return []
    before = {name: _statistics(layer) for name, layer in frozen.items()}
    moved = []
    with torch.no_grad(), case.trial(train=True):
        case.forward()
        moved = [name for name, layer in frozen.items() if not torch.equal(_statistics(layer), before[name])]
    if not moved:
        return []
    return [
        Finding(
            "batch-norm",
            "error",
            f"{len(moved)} of {len(frozen)} frozen batch normalisations have live statistics: one training pass moves "
            f"the running mean and variance of {moved[0]!r}"
            + (", though its weight and bias do not learn" if moved[0] not in meant else ""),
            "statistics that stay as they are where the layer is frozen",
            "--batch-norm frozen; in Python put these layers into evaluation AFTER model.train(), each epoch: "
            "module.eval() (requires_grad=False does not stop the statistics)",
        )
    ]


def _meant(case: Case, layers: dict[str, _BatchNorm]) -> set[str]:
    """Names of the layers that their owner says are frozen."""
    if isinstance(case.batch_norm_frozen, bool):
        return set(layers) if case.batch_norm_frozen else set()
    return set(layers) & set(case.batch_norm_frozen)


def _statistics(layer: _BatchNorm) -> Tensor:
    if layer.running_mean is None or layer.running_var is None:
        return torch.zeros(0)
    return torch.cat([layer.running_mean, layer.running_var]).clone()


def _momenta(layers: dict[str, _BatchNorm]) -> list[Finding]:
    tracking = {
        name: m for name, m in layers.items() if m.track_running_stats and m.training and m.momentum is not None
    }
    slow = [name for name, layer in tracking.items() if (layer.momentum or 0.0) < _SLOW]
    fast = [name for name, layer in tracking.items() if (layer.momentum or 0.0) >= _FAST]
    for names, severity, what in (
        (slow, "error", "running statistics never move, and evaluation normalises by what they started with"),
        (fast, "warning", "running statistics are those of the last batch alone"),
    ):
        if names:
            value = tracking[names[0]].momentum
            return [
                Finding(
                    "batch-norm",
                    severity,  # type: ignore[arg-type]
                    f"momentum is {value:g} in {len(names)} of {len(layers)} batch normalisations ({names[0]!r}): "
                    f"{what}",
                    "about 0.1 (0.01 for long runs): in torch it is the share of the new batch",
                    f"momentum={1 - (value or 0.0):.3g} where Keras and TensorFlow say {value:g}"
                    if names is fast
                    else "momentum=0.1, or freeze the layers with statistics of pretrained weights",
                )
            ]
    return []


def _never_estimated(case: Case, layers: dict[str, _BatchNorm]) -> list[Finding]:
    """In training mode, and yet in evaluation by hand, with statistics that nobody ever estimated."""
    meant = _meant(case, layers)
    empty = [
        name
        for name, layer in layers.items()
        if (name in meant or (case.was_training and not layer.training))
        and layer.running_mean is not None
        and layer.running_var is not None
        and not bool(layer.running_mean.any())
        and bool((layer.running_var == 1).all())
    ]
    if not empty:
        return []
    return [
        Finding(
            "batch-norm",
            "error",
            f"{len(empty)} of {len(layers)} batch normalisations are frozen at mean 0 and variance 1, which nobody "
            f"estimated ({empty[0]!r}): they normalise nothing",
            "statistics of pretrained weights, or live ones",
            "load pretrained weights before freezing, or --batch-norm train",
        )
    ]


def _few_values(case: Case) -> list[Finding]:
    """Two values a channel are always normalised to plus and minus one: nothing of them is left."""
    if case.batch_size is None or case.batch_size > 2:
        return []
    few: dict[str, int] = {}
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def look(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            values = args[0].numel() // (args[0].shape[0] * args[0].shape[1]) * (case.batch_size or 1)
            if layer.training and values <= 2:
                few[name] = values

        handles.append(module.register_forward_pre_hook(look))

    with torch.no_grad(), case.trial(train=True) as model:
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm):
                watch(name, module)
        try:
            case.forward()
        finally:
            for handle in handles:
                handle.remove()
    if not few:
        return []
    name, values = next(iter(few.items()))
    return [
        Finding(
            "batch-norm",
            "warning",
            f"with {case.batch_size} images a step, {name!r} has {values} value(s) a channel: normalised, only their "
            "order is left",
            "more values a channel (16 and more)",
            "a larger --batch-size, --batch-norm frozen, or group normalisation",
        )
    ]
