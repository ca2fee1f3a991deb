"""Gradients that do not arrive: frozen layers, an optimiser without them, a detached output, dead ReLUs, overflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case

__all__ = ["ORDER", "probe"]

ORDER = 8
# Of pretrained networks, up to half of the units of a late layer may be silent on a handful of images.
_DEAD_SHARE = 0.95
_ZERO = 1e-20
_RELUS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh)


def probe(case: Case) -> list[Finding]:
    """Run one pass forward and backward, and follow the gradient."""
    named = dict(case.model.named_parameters())
    trainable = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    if not trainable:
        return [_frozen(len(named))]
    findings = _left_out_of_optimizer(case, trainable)
    with case.trial(train=True) as model:
        model.zero_grad(set_to_none=True)
        with _watched(model) as (met, dead):
            logits = case.forward()
        if not logits.requires_grad:
            return [_detached("the model's output")]
        try:
            value = case.value(logits)
            value.backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            if "does not require grad" in str(error):
                return [_detached("the loss")]
            said = f"the loss fails: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            fix = f"logits are {tuple(logits.shape)}, targets {tuple(case.targets.shape)} of {case.targets.dtype}"
            return [Finding("gradients", "error", said, "a loss of these logits and targets", fix)]
        norms = {name: _norm(parameter.grad) for name, parameter in trainable.items()}
    return findings + _judge(case, norms, met, dead)


def _judge(case: Case, norms: dict[str, float | None], met: set[str], dead: dict[str, float]) -> list[Finding]:
    arrived = {name: norm for name, norm in norms.items() if norm is not None}
    total = sum(norm**2 for norm in arrived.values()) ** 0.5
    case.figures["gradient_norm"] = total
    silent = sorted(dead, key=lambda name: -dead[name])
    if total != total or total == float("inf"):
        return [
            Finding(
                "gradients",
                "error",
                "the gradient is NaN or infinite at the first step",
                "finite gradients",
                "look for log(0), a division by a count of 0 or sqrt(0) in the loss; or half precision",
            )
        ]
    if total <= _ZERO:
        return [_zero(silent, dead)]
    cut = [name for name, norm in norms.items() if norm is None and name.rpartition(".")[0] in met]
    if len(cut) > len(norms) / 4:
        return [
            Finding(
                "gradients",
                "error",
                f"{len(cut)} of {len(norms)} trainable tensors take part but get no gradient, from {cut[0]!r} to "
                f"{cut[-1]!r}",
                "a gradient for every layer that is used",
                "look for .detach(), torch.no_grad(), .data, numpy or argmax behind these layers",
            )
        ]
    # Weights only: a bias in front of batch normalisation has no gradient by nature.
    weights = [name for name in arrived if name.endswith("weight")]
    stuck = [name for name in weights if arrived[name] <= _ZERO]
    if len(stuck) > len(weights) / 2 or (dead and stuck):
        at = f"; {_said(silent[0], dead[silent[0]])}" if silent else ""
        return [
            Finding(
                "gradients",
                "error",
                f"the gradient is exactly 0 in {len(stuck)} of {len(weights)} weights, {stuck[0]!r} first{at}",
                "a gradient in every layer",
                "lower biases or the learning rate that drove the units off, start from new weights there, or use "
                "LeakyReLU",
            )
        ]
    return []


def _frozen(num: int) -> Finding:
    return Finding(
        "gradients",
        "error",
        f"nothing can be learned: all {num} parameter tensors are frozen (requires_grad is False)",
        "parameters that require gradients, at least those of the head",
        "for p in model.parameters(): p.requires_grad_(True), before the optimiser is made; or a shorter head stage",
    )


def _left_out_of_optimizer(case: Case, trainable: dict[str, nn.Parameter]) -> list[Finding]:
    try:
        optimizer = case.make_optimizer(case.model)
    except ValueError as error:
        return [Finding("gradients", "error", f"the optimiser fails: {error}", "parameters to train", "unfreeze some")]
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, parameter in trainable.items() if id(parameter) not in known]
    if not missing:
        return []
    share = len(missing) / len(trainable)
    return [
        Finding(
            "gradients",
            "error" if share == 1 else "warning",
            f"the optimiser does not have {len(missing)} of {len(trainable)} trainable tensors, such as {missing[0]!r}",
            "every trainable parameter in the optimiser",
            "make the optimiser after the model is complete (new head, moved to its device), from model.parameters()",
        )
    ]


def _detached(what: str) -> Finding:
    return Finding(
        "gradients",
        "error",
        f"{what} has no gradient: it is cut off from the parameters",
        "a differentiable path from the loss to the weights",
        "look for .detach(), argmax, .item(), torch.no_grad() or numpy between model and loss",
    )


def _zero(silent: list[str], dead: dict[str, float]) -> Finding:
    at = f": {_said(silent[0], dead[silent[0]])}" if silent else ""
    return Finding(
        "gradients",
        "error",
        f"the gradient is exactly 0 in every layer{at}",
        "a gradient",
        "start from other weights with a lower learning rate, or use LeakyReLU there"
        if silent
        else "look at the loss: it does not depend on the outputs where targets count",
    )


def _said(name: str, share: float) -> str:
    return f"{share:.0%} of the units of {name!r} are dead (a ReLU that outputs 0 for every image)"


def _norm(gradient: Tensor | None) -> float | None:
    return None if gradient is None else float(gradient.detach().norm())


@contextmanager
def _watched(model: nn.Module) -> Iterator[tuple[set[str], dict[str, float]]]:
    """Note which modules run, and the share of channels of each ReLU that are 0 everywhere, where it is large."""
    met: set[str] = set()
    dead: dict[str, float] = {}
    handles = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, _: Any, output: Any) -> None:
            met.add(name)
            if isinstance(module, _RELUS) and isinstance(output, Tensor) and output.dim() >= 2:
                axes = [axis for axis in range(output.dim()) if axis != 1]
                share = float((output.detach().amax(dim=axes) <= 0).float().mean())
                if share >= _DEAD_SHARE:
                    dead[name] = max(share, dead.get(name, 0.0))

        return look

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(watch(name)))
        yield met, dead
    finally:
        for handle in handles:
            handle.remove()
