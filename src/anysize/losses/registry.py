"""Losses by name: a file of this folder registers its loss, and no list elsewhere is edited."""

import difflib
import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from anysize.errors import UsageError
from anysize.losses.laying import Labels, Pair, lay_labels, lay_pairs
from anysize.losses.sums import LossSum

__all__ = ["Loss", "create_loss", "joined_names", "list_losses", "loss_kind", "loss_options", "register_loss"]


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss over images of any sizes. Fields that a subclass adds are its options, numbers all of them.

    Raises:
        UsageError: a value that cannot be used, or one that this loss does not take.
    """

    name: ClassVar[str]
    takes_labels: ClassVar[bool] = False
    """Whether it also works on whole images, logits (N, K) beside labels (N,)."""
    takes_class_weights: ClassVar[bool] = False
    """Without them, classes weigh what the loss itself gives them."""
    bars_class_weights: ClassVar[str] = ""
    """Why this loss can be no part of a weighted sum of losses; empty where it can, and goes without weights."""
    takes_label_smoothing: ClassVar[bool] = False
    takes_hardest: ClassVar[bool] = False
    """Whether it chooses the hardest pixels of each image itself."""
    splits_exactly: ClassVar[bool] = True
    """Whether the sums over the parts of a batch add up to the sum over the batch."""

    num_classes: int
    """K, two or more."""
    ignore_label: int | None = 255
    """The target that does not count."""
    class_weights: tuple[float, ...] | None = None
    """K weights, not negative."""
    label_smoothing: float = 0.0
    """The share of each target that is spread over all classes, at least 0 and below 1."""

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise UsageError(
                f"{self.name} was asked for with num_classes={self.num_classes}; two classes or more are required, for "
                "the softmax over one is always 1",
                hint="num_classes=2: what is looked for, and the background",
            )
        if self.class_weights is not None:
            if not self.takes_class_weights:
                why = f": {self.bars_class_weights}" if self.bars_class_weights else ""
                raise UsageError(f"{self.name} takes no class weights{why}", hint=_takers("takes_class_weights"))
            object.__setattr__(self, "class_weights", _checked_weights(self.class_weights, self.num_classes))
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(f"label_smoothing is {self.label_smoothing}; at least 0 and below 1 is required")
        if self.label_smoothing and not self.takes_label_smoothing:
            raise UsageError(f"{self.name} takes no label smoothing", hint=_takers("takes_label_smoothing"))

    def __call__(self, logits: Any, targets: Any) -> LossSum:
        """Sum the loss over a batch.

        Args:
            logits: before any softmax: maps (N, K, *spatial), a tensor, a `RaggedBatch` or a `RaggedGroup`; or (N, K)
                for whole images.
            targets: class indices at the same sizes: (N, *spatial), as `RaggedBatch.from_labels` lays them or a plain
                tensor on the logits' canvas; a group of such beside a group; (N,) for whole images.

        Raises:
            DataError: a label that is no class and not ignored.
            MixedSizesError: targets of other sizes than the logits.
            UsageError: logits or targets of another kind or number of classes.
        """
        return self.over(lay_pairs(logits, targets, self.num_classes, self.ignore_label))

    def count(self, targets: Any) -> float:
        """Return the count that `__call__` will return, from the targets alone; it adds up over images.

        A plain tensor has no sizes: what lies around its images must hold the ignore label.
        """
        return self.count_over(lay_labels(targets, self.num_classes, self.ignore_label))

    def over(self, pairs: Sequence[Pair]) -> LossSum:
        """As `__call__`, of what `lay_pairs` gave."""
        count = self.count_over([pair.labels for pair in pairs])
        return LossSum(self._total(pairs), count)

    def count_over(self, labels: Sequence[Labels]) -> float:
        """As `count`, of what `lay_labels` gave."""
        if not self.takes_labels and not all(part.is_maps for part in labels):
            takers = " and ".join(loss for loss, kind in _losses().items() if kind.takes_labels)
            raise UsageError(
                f"{self.name} compares maps of classes, and here is one label for each image",
                hint=f"{takers} work on labels of whole images",
            )
        return self._count(labels)

    @abstractmethod
    def _total(self, pairs: Sequence[Pair]) -> Tensor:
        """The scalar sum; zero, with a gradient of zeros, where nothing counts."""

    @abstractmethod
    def _count(self, labels: Sequence[Labels]) -> float:
        """The count."""

    def _weights(self, like: Tensor) -> Tensor | None:
        """(K,) class weights of the kind of ``like``, or None."""
        if self.class_weights is None:
            return None
        return torch.tensor(self.class_weights, dtype=like.dtype, device=like.device)

    def _require(self, option: str, condition: str, *, fits: bool) -> None:
        value = getattr(self, option)
        if not (math.isfinite(value) and fits):
            raise UsageError(
                f"{self.name}.{option} is {value:g}; {condition} is required",
                hint=f"{self.name}.{option}={type(self).__dataclass_fields__[option].default:g} is the default",
            )


def _checked_weights(weights: Any, num_classes: int) -> tuple[float, ...]:
    numbers = tuple(float(weight) for weight in weights)
    if len(numbers) != num_classes:
        raise UsageError(
            f"{len(numbers)} class weights were given for {num_classes} classes; one a class is required",
            hint="weights in the order of the classes",
        )
    for index, weight in enumerate(numbers):
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(
                f"the weight of class {index} is {weight:g}; a finite number that is not negative is required",
                hint="0 leaves a class out",
            )
    if not any(numbers):
        raise UsageError("all class weights are 0; one of them must be positive", hint="1 for each class is no weight")
    return numbers


_LOSSES: dict[str, type[Loss]] = {}
AnyLoss = TypeVar("AnyLoss", bound=type[Loss])


def register_loss(kind: AnyLoss) -> AnyLoss:
    """Register a subclass of `Loss` under its ``name``."""
    _LOSSES[kind.name] = kind
    return kind


def _losses() -> dict[str, type[Loss]]:
    package = importlib.import_module("anysize.losses")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"anysize.losses.{module.name}")
    return dict(sorted(_LOSSES.items()))


def _takers(flag: str) -> str:
    takers = [name for name, kind in _losses().items() if getattr(kind, flag)]
    return f"{joined_names(takers)} {'does' if len(takers) == 1 else 'do'}"


def joined_names(names: Iterable[str]) -> str:
    """Return names as a sentence lists them; one or more.

    >>> joined_names(["ce", "dice", "focal"])
    'ce, dice and focal'
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def list_losses() -> list[str]:
    """Return the names of all losses, sorted.

    >>> list_losses()[:3]
    ['batch_dice', 'batch_jaccard', 'ce']
    """
    return list(_losses())


def loss_kind(name: str) -> type[Loss]:
    """Return the class of a loss.

    Raises:
        UsageError: there is no such loss.
    """
    kinds = _losses()
    if name not in kinds:
        close = difflib.get_close_matches(name, kinds, n=1, cutoff=0.5)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"there is no loss {name!r}", hint=f"{meant}there are {joined_names(kinds)}")
    return kinds[name]


def loss_options(name: str) -> dict[str, float]:
    """Return the options of a loss, each with its default.

    >>> loss_options("focal")
    {'gamma': 2.0}

    Raises:
        UsageError: there is no such loss.
    """
    common = {field.name for field in fields(Loss)}
    return {field.name: float(field.default) for field in fields(loss_kind(name)) if field.name not in common}  # type: ignore[arg-type]


def create_loss(
    name: str,
    *,
    num_classes: int,
    ignore_label: int | None = 255,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    options: Mapping[str, float] | None = None,
) -> Loss:
    """Create one loss.

    Args:
        name: one of `list_losses`.
        num_classes: K, two or more.
        ignore_label: the target that does not count.
        class_weights: K numbers, not negative.
        label_smoothing: share of each target that is spread over all classes.
        options: of `loss_options`.

    Raises:
        UsageError: an unknown name or option, or a value that cannot be used.
    """
    known = loss_options(name)
    for option in options or {}:
        if option not in known:
            has = f"{name} has {joined_names(f'{name}.{o}={v:g}' for o, v in known.items())}" if known else None
            raise UsageError(f"the loss {name} has no option {option!r}", hint=has or f"{name} has no options")
    return loss_kind(name)(
        num_classes=num_classes,
        ignore_label=ignore_label,
        class_weights=None if class_weights is None else tuple(class_weights),
        label_smoothing=label_smoothing,
        **(options or {}),
    )
