"""Group normalisation in place of batch normalisation (Wu and He 2018, arXiv 1803.08494)."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm, _BatchNorm

from anysize.errors import UsageError

__all__ = ["num_groups", "with_group_norm"]

GROUPS = 32

_PLAIN = {kind.forward for kind in (BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm)}


class _GroupNormAct(nn.GroupNorm):
    """With what timm's normalisation layers have behind them: dropout of blocks and an activation."""

    def __init__(self, groups: int, layer: Any) -> None:
        super().__init__(groups, layer.num_features, layer.eps, layer.affine)
        self.drop = layer.drop
        self.act = layer.act

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *size) -> the same."""
        result: Tensor = self.act(self.drop(super().forward(input)))
        return result


def num_groups(channels: int, groups: int = GROUPS) -> int:
    """Return the largest divisor of ``channels`` up to ``groups`` that leaves two channels a group, where there is one.

    A group of one channel would be instance normalisation: of a map of 1x1 pixel, such as the image-level pooling of
    DeepLab, nothing but the bias would be left.

    >>> [num_groups(channels) for channels in (256, 64, 48, 16, 7, 1)]
    [32, 32, 24, 8, 1, 1]
    """
    most = max(1, min(groups, channels // 2))
    return next(divisor for divisor in range(most, 0, -1) if channels % divisor == 0)


def with_group_norm(model: nn.Module, groups: int = GROUPS) -> int:
    """Put group normalisation in the place of every batch normalisation of ``model``; returns how many that were.

    Scale and shift are kept, the same parameters under the same names; the running statistics are gone, from the state
    dict too. So the network is another one: weights of the one do not load into the other, and a network is rebuilt
    this way before its weights are loaded. Pretrained weights with batch normalisation are loaded before this, and then
    need training. Images are normalised each by itself: the size of the batch does not matter, not even one image.

    Args:
        model: any module, changed in place (a batch normalisation itself cannot be: wrap it).
        groups: the number of groups, where it divides a layer's channels: see `num_groups`.

    Raises:
        UsageError: ``groups`` below 1; ``model`` is itself the layer; a layer whose class does more than normalise.
    """
    if groups < 1:
        raise UsageError(f"groups is {groups}; it must be at least 1")
    found = [(name, module) for name, module in model.named_modules(remove_duplicate=False) if _is_batch_norm(module)]
    made: dict[nn.Module, nn.GroupNorm] = {}
    for name, module in found:
        if not name:
            raise UsageError(
                f"the network is a {type(module).__name__} and nothing else, which cannot be replaced in place",
                hint="with_group_norm(nn.Sequential(module))",
            )
        if module not in made:
            made[module] = _group_norm(name, module, groups)
    for name, module in found:
        model.set_submodule(name, made[module])
    return len(made)


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm)


def _group_norm(name: str, layer: Any, groups: int) -> nn.GroupNorm:
    known = getattr(layer, "_own_class", type(layer)).forward  # a policy of batch normalisation may lie above it
    if getattr(layer, "num_features", 0) < 1:
        raise UsageError(f"{name} is a lazy layer and does not know its channels yet", hint="run one batch before")
    groups = num_groups(layer.num_features, groups)
    if known in _PLAIN:
        made = nn.GroupNorm(groups, layer.num_features, layer.eps, layer.affine)
    elif isinstance(getattr(layer, "act", None), nn.Module) and isinstance(getattr(layer, "drop", None), nn.Module):
        made = _GroupNormAct(groups, layer)
    else:
        raise UsageError(
            f"{name} is a {type(layer).__name__}, whose forward may do more than normalise: group normalisation in its "
            "place would drop that",
            hint="replace this layer by hand, or use --batch-norm train, frozen or recalibrate",
        )
    if layer.affine:
        made.weight, made.bias = layer.weight, layer.bias
    return made.train(layer.training)
