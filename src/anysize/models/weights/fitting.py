"""A file's tensors against a network: everything is decided before anything is copied."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from anysize.models.weights.layouts import Layout
from anysize.models.weights.misfit import differences, misfit
from anysize.models.weights.stem import Stem, adapt_stem

__all__ = ["Fit", "Head", "fit_tensors"]

Head = Literal["load", "new"]


@dataclass(kw_only=True)
class Fit:
    """What goes where."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By our names, in our shapes."""
    adapted: dict[str, str] = field(default_factory=dict)
    """By our names: what was changed."""
    new: list[str] = field(default_factory=list)
    """Our names: stay as they are in the network."""
    reset: list[str] = field(default_factory=list)
    """Our names: counters that the file lacks, set to zero."""
    unused: list[str] = field(default_factory=list)
    """The file's names, for which the network has no place, or keeps its own."""


def fit_tensors(
    model: nn.Module,
    layout: Layout,
    found: Mapping[str, Tensor],
    *,
    source: object,
    head: Head,
    stem: Stem,
    other: Callable[[], str],
) -> Fit:
    """Work out what each tensor of the network becomes.

    Args:
        model: the network, which is not changed.
        layout: the names that the file uses.
        found: the file's content.
        source: what the file is called in errors.
        head: ``load`` everything, or leave the heads, and what the file has no names for, as they are.
        stem: what to do with another number of input channels.
        other: makes the hint where names or shapes differ for a reason that no argument mends.

    Raises:
        CheckpointError: lists what is missing, unexpected, or of another shape.
    """
    fitter = _Fitter(model, layout, found, head, stem)
    for ours, tensor in model.state_dict().items():
        fitter.place(ours, tensor)
    wrong, mendable = fitter.differences(), fitter.mendable()
    if wrong or mendable:
        raise misfit(source, [*wrong, *mendable], hint=other() if wrong else fitter.cure())
    return fitter.fit


class _Fitter:
    """Goes through the tensors of a network, and keeps what fits apart from what does not."""

    def __init__(self, model: nn.Module, layout: Layout, found: Mapping[str, Tensor], head: Head, stem: Stem) -> None:
        self.fit = Fit(unused=[key for key in found if key.rpartition(".")[0] in layout.ignored])
        self._modules = dict(model.named_modules())
        self._heads: tuple[str, ...] = getattr(model, "head_names", ())
        self._stem_key = f"{getattr(model, 'stem_name', '')}.weight"
        self._layout, self._found, self._head, self._stem = layout, found, head, stem
        self._wanted: dict[str, Tensor] = {}  # by the file's names
        self._given: dict[str, Tensor] = {}  # by the file's names, in our shapes
        self._other_heads: dict[str, tuple[Tensor, Tensor | None]] = {}  # by our names: wanted, found
        self._outside: list[str] = []  # our names, for which the layout has none
        self._other_stem: tuple[int, int] | None = None  # channels of the file, of the network

    def place(self, ours: str, wanted: Tensor) -> None:
        """Decide on one tensor of the network."""
        theirs, is_head = self._layout.key(ours), ours.rpartition(".")[0] in self._heads
        found = None if theirs is None else self._found.get(theirs)
        if theirs is None:
            self.fit.new.append(ours)
            self._outside.append(ours)
        elif is_head and self._head == "new":
            self.fit.new.append(ours)
            self.fit.unused += [] if found is None else [theirs]
        elif found is None and ours.endswith(".num_batches_tracked"):
            self.fit.tensors[ours] = torch.zeros_like(wanted)
            self.fit.reset.append(ours)
        else:
            value = None if found is None else self._layout.unpack(ours, found, wanted)
            if value is not None and value.shape != wanted.shape and ours == self._stem_key:
                value = self._adapted(ours, value, wanted)
            self._compare(ours, theirs, wanted, value, is_head)

    def _compare(self, ours: str, theirs: str, wanted: Tensor, value: Tensor | None, is_head: bool) -> None:
        if value is not None:
            self.fit.tensors[ours] = self._given[theirs] = value
        if is_head and (value is None or value.shape != wanted.shape):
            self._other_heads[ours] = (wanted, value)
            self._wanted[theirs] = self._given[theirs] = wanted  # told apart from the rest
        else:
            self._wanted[theirs] = wanted

    def _adapted(self, ours: str, value: Tensor, wanted: Tensor) -> Tensor:
        if value.dim() != wanted.dim() or value[:, :0].shape != wanted[:, :0].shape:
            return value
        adapted = None if self._stem == "load" else adapt_stem(value, wanted.shape[1], self._stem)
        if adapted is None:
            self._other_stem = (value.shape[1], wanted.shape[1])
            return wanted
        self.fit.adapted[ours] = adapted[1]
        return adapted[0]

    def differences(self) -> list[str]:
        """Say what no argument mends."""
        explained = {*self._wanted, *self.fit.unused}
        rest = {key: tensor for key, tensor in self._found.items() if key not in explained}
        return differences(self._wanted, {**self._given, **rest})

    def mendable(self) -> list[str]:
        """Say what another ``head`` or ``stem`` would mend."""
        lines = []
        for ours, (wanted, found) in self._other_heads.items():
            theirs, module = self._layout.key(ours), self._modules[ours.rpartition(".")[0]]
            if found is None:
                lines.append(f"missing: {theirs}")
            # (classes, ...) in these two; a transposed convolution has them elsewhere.
            elif isinstance(module, nn.Linear | nn.Conv2d) and found.shape[1:] == wanted.shape[1:]:
                beside_weight = ours.endswith(".bias") and f"{ours.removesuffix('bias')}weight" in self._other_heads
                if not beside_weight:
                    lines.append(f"{theirs} has {len(found)} classes, the network has {len(wanted)}")
            else:
                lines += differences({str(theirs): wanted}, {str(theirs): found})
        if self._outside and self._head == "load":
            rest = ", ".join(_roots(self._outside))
            lines.append(f"they are of a part only, as {self._layout.name} names it: there is nothing for {rest}")
        if self._other_stem:
            before, after = self._other_stem
            lines.append(f"{self._layout.key(self._stem_key)} takes {before} channels, the network has {after}")
        return lines

    def cure(self) -> str:
        """Say which arguments mend it."""
        cures = []
        if self._other_heads or (self._outside and self._head == "load"):
            heads = dict.fromkeys(ours.rpartition(".")[0] for ours in self._other_heads)
            stay = ", ".join((*heads, *_roots(self._outside)))
            cures.append(f'head="new" loads all others, and leaves {stay} as in the network')
        if self._other_stem:
            before, after = self._other_stem
            fewer = 1 < after < before
            cures.append(
                f'stem="repeat" takes its {before} channels in turn, scaled'
                if fewer
                else f'stem="adapt" keeps what it answers to {"its" if before > 1 else "the"} {before} channels'
                if after > before
                else 'stem="adapt" adds its channels up'
            )
        return "; ".join(cures)


def _roots(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in names))
