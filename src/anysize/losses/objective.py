"""What training makes small: a loss, or a weighted sum of several, named by a line such as ``ce+0.5*dice``."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anysize.errors import UsageError
from anysize.losses.laying import lay_labels, lay_pairs
from anysize.losses.registry import Loss, create_loss, joined_names, loss_kind, loss_options
from anysize.losses.sums import LossSum

__all__ = ["Objective", "Term", "create_objective"]

_PLUS = re.compile(r"(?<![0-9.][eE])\+")  # not that of 1e+2
_FACTOR = r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|-?inf|nan"
_TERM = re.compile(rf"(?:(?P<factor>{_FACTOR})\s*\*\s*)?(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class Term:
    """One loss of an objective."""

    weight: float
    """What its mean, total / count, is multiplied by; positive."""
    loss: Loss


@dataclass(frozen=True)
class Objective:
    """A weighted sum of means: ``sum_i weight_i total_i / count_i``.

    Totals and counts are added over the micro-batches of a step, term by term, and divided once; counts are known from
    the targets, before any forward pass.
    """

    terms: tuple[Term, ...]

    @property
    def spec(self) -> str:
        """The line that names it."""
        return "+".join(
            term.loss.name if term.weight == 1 else f"{term.weight!r}*{term.loss.name}" for term in self.terms
        )

    @property
    def splits_exactly(self) -> bool:
        """Whether a step in several passes has the gradient of one pass: all but ``batch_`` losses."""
        return all(term.loss.splits_exactly for term in self.terms)

    @property
    def takes_labels(self) -> bool:
        """Whether it also works on labels of whole images: all terms do."""
        return all(term.loss.takes_labels for term in self.terms)

    def counts(self, targets: Any) -> tuple[float, ...]:
        """Return each term's count, from the targets alone; see `Loss.count`."""
        first = self.terms[0].loss
        labels = lay_labels(targets, first.num_classes, first.ignore_label)
        return tuple(term.loss.count_over(labels) for term in self.terms)

    def sums(self, logits: Any, targets: Any) -> tuple[LossSum, ...]:
        """Return each term's sum and count, not weighted; see `Loss.__call__`."""
        first = self.terms[0].loss
        pairs = lay_pairs(logits, targets, first.num_classes, first.ignore_label)
        return tuple(term.loss.over(pairs) for term in self.terms)

    def scales(self, counts: Sequence[float]) -> tuple[float, ...]:
        """Return what each term's total is multiplied by: weight / count, 0 where nothing counts.

        Args:
            counts: of the whole step, one a term.
        """
        return tuple(term.weight / count if count else 0.0 for term, count in zip(self.terms, counts, strict=True))

    def combined(self, sums: Sequence[LossSum], counts: Sequence[float]) -> Tensor:
        """Return the share of some images in the objective of their step: a scalar to go backwards from.

        Args:
            sums: of those images, one a term.
            counts: of the whole step, one a term.
        """
        shares = [loss.total * scale for loss, scale in zip(sums, self.scales(counts), strict=True)]
        return torch.stack(shares).sum() if len(shares) > 1 else shares[0]

    def value(self, sums: Sequence[LossSum], counts: Sequence[float]) -> float:
        """Return ``sum_i weight_i total_i / count_i`` as a number; 0 for a term of which nothing counts.

        Args:
            sums: one a term, added up over what ``counts`` is of.
            counts: one a term.
        """
        return sum(
            float(torch.as_tensor(loss.total).detach()) * scale
            for loss, scale in zip(sums, self.scales(counts), strict=True)
        )


def create_objective(
    spec: str,
    *,
    num_classes: int,
    ignore_label: int | None = 255,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    options: Sequence[str] = (),
) -> Objective:
    """Create what training makes small.

    Args:
        spec: losses of `list_losses`, each with a factor or none: ``ce``, ``ce+dice``, ``0.3*focal+lovasz``.
        num_classes: K, two or more.
        ignore_label: the target that does not count.
        class_weights: K numbers, not negative, for the terms that take them.
        label_smoothing: for the terms that take it.
        options: of single losses: ``focal.gamma=1.5``, ``tversky.beta=0.8``.

    Raises:
        UsageError: a line that cannot be read, an unknown loss or option, a value that cannot be used, or weights or
            smoothing that no term takes.
    """
    factors = _parsed(spec)
    kinds = {name: loss_kind(name) for name in factors}
    if class_weights is not None:
        for kind in kinds.values():
            if kind.bars_class_weights:
                raise UsageError(
                    f"class weights were given, and {kind.name} of the loss {spec!r} cannot have them: "
                    f"{kind.bars_class_weights}",
                    hint="leave out one of them; focal takes weights, and looks at hard pixels too",
                )
        _check_taken(spec, {name: kind.takes_class_weights for name, kind in kinds.items()}, "class weights")
    if label_smoothing:
        _check_taken(spec, {name: kind.takes_label_smoothing for name, kind in kinds.items()}, "label smoothing")
    values = _parsed_options(spec, list(factors), options)
    return Objective(
        tuple(
            Term(
                factor,
                create_loss(
                    name,
                    num_classes=num_classes,
                    ignore_label=ignore_label,
                    class_weights=class_weights if kinds[name].takes_class_weights else None,
                    label_smoothing=label_smoothing if kinds[name].takes_label_smoothing else 0.0,
                    options=values[name],
                ),
            )
            for name, factor in factors.items()
        )
    )


def _parsed(spec: str) -> dict[str, float]:
    """Return the factor of each loss that the line names."""
    factors: dict[str, float] = {}
    for piece in _PLUS.split(spec):
        match = _TERM.fullmatch(piece.strip())
        if match is None:
            raise UsageError(
                f"{piece.strip()!r} in the loss {spec!r} cannot be read; NAME or FACTOR*NAME, joined by +, is required",
                hint="for example ce, ce+dice or ce+0.5*dice",
            )
        name, factor = match["name"], float(match["factor"] or 1.0)
        if name in factors:
            raise UsageError(f"the loss {spec!r} names {name} twice", hint=f"once, with a factor: 2*{name}")
        if not (math.isfinite(factor) and factor > 0):
            raise UsageError(
                f"the factor of {name} in the loss {spec!r} is {factor:g}; a positive number is required",
                hint=f"leave {name} out, or give it a positive factor",
            )
        factors[name] = factor
    return factors


def _check_taken(spec: str, taken: dict[str, bool], what: str) -> None:
    it = "them" if what.endswith("s") else "it"
    if not any(taken.values()):
        raise UsageError(
            f"{what} cannot be used: no loss of {spec!r} takes {it}",
            hint=f"leave {it} out, or add a loss that does: ce+{spec}",
        )


def _parsed_options(spec: str, names: Sequence[str], options: Sequence[str]) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {name: {} for name in names}
    for option in options:
        left, equals, right = (part.strip() for part in option.partition("="))
        name, dot, key = left.partition(".")
        known = [f"{loss}.{each}={value:g}" for loss in names for each, value in loss_options(loss).items()]
        hint = f"the loss {spec!r} has {joined_names(known)}" if known else f"the loss {spec!r} has no options"
        if not (equals and dot and key and right):
            raise UsageError(f"the loss option {option!r} cannot be read; LOSS.OPTION=VALUE is required", hint=hint)
        if name not in values or key not in loss_options(name):
            raise UsageError(f"the loss option {option!r} names no option of the loss {spec!r}", hint=hint)
        if key in values[name]:
            raise UsageError(f"the loss option {left} is given twice", hint=f"once: {option}")
        try:
            values[name][key] = float(right)
        except ValueError:
            raise UsageError(f"the loss option {option!r} has the value {right!r}; a number is required", hint=hint) \
                from None  # fmt: skip
    return values
