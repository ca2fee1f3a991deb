"""What is known of a tensor while a network is followed: which pixels of the image each of its positions can see."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from anysize.sizes.reach import Reach

__all__ = ["Dim", "Factor", "State", "join_dims"]


@dataclass(frozen=True, slots=True)
class Factor:
    """A dimension, or a part of one that was merged from several."""

    length: int
    reach: Reach | None = None
    """What each position sees; None where the position says nothing about space: batch, channels, one pooled pixel."""
    axis: int = 0
    """Which axis of the image ``reach`` is about: 0 height, 1 width."""


Dim = tuple[Factor, ...]
"""A dimension as the product of its factors, the last one running fastest."""


@dataclass(frozen=True, slots=True)
class State:
    """A tensor that depends on the image."""

    dims: tuple[Dim, ...]
    whole: frozenset[int] = frozenset()
    """Axes of the image along which it depends on all of the image, too (a global pool)."""
    share: frozenset[int] = frozenset()
    """Axes along which it depends, too, on a share of the image that grows with it (a pool to a fixed grid)."""
    pooled: dict[int, Reach] = field(default_factory=dict)
    """By axis, the last map that was pooled away on the way here."""
    unknown: str | None = None
    """Where an operator that is not known stood in the way; then nothing else here counts."""

    @classmethod
    def constant(cls, shape: Sequence[int]) -> "State":
        """Return the state of a tensor that does not depend on the image."""
        return cls(tuple((Factor(length),) for length in shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, from the factors."""
        lengths = []
        for dim in self.dims:
            length = 1
            for factor in dim:
                length *= factor.length
            lengths.append(length)
        return tuple(lengths)

    def reaches(self) -> dict[int, Reach]:
        """By axis of the image, what the positions of this tensor see."""
        return {factor.axis: factor.reach for dim in self.dims for factor in dim if factor.reach is not None}

    def with_dim(self, dim: int, factors: Dim) -> "State":
        """Replace one dimension."""
        return replace(self, dims=(*self.dims[:dim], factors, *self.dims[dim + 1 :]))

    def seen_whole(self, dims: Sequence[int]) -> "State":
        """Every position now depends on all others along ``dims``, as behind a normalisation over space."""
        axes = {factor.axis for dim in dims for factor in self.dims[dim] if factor.reach is not None}
        return replace(self, whole=self.whole | axes)

    def reduced(self, dims: Sequence[int], *, keepdim: bool = False) -> "State":
        """Dimensions that are summed, averaged or contracted away."""
        gone = {factor.axis: factor.reach for dim in dims for factor in self.dims[dim] if factor.reach is not None}
        seen = self.seen_whole(dims)
        kept = tuple(
            (Factor(1),) if number in dims else dim
            for number, dim in enumerate(self.dims)
            if keepdim or number not in dims
        )
        return replace(seen, dims=kept, pooled={**self.pooled, **gone})

    def joined(self, other: "State") -> "State | None":
        """Join two tensors element by element, with broadcasting; None where their dimensions do not compare."""
        rank = max(len(self.dims), len(other.dims))
        mine = ((Factor(1),),) * (rank - len(self.dims)) + self.dims
        others = ((Factor(1),),) * (rank - len(other.dims)) + other.dims
        dims = [join_dims(left, right) for left, right in zip(mine, others, strict=True)]
        if any(dim is None for dim in dims):
            return None
        return replace(self.merged(other), dims=tuple(dim for dim in dims if dim is not None))

    def merged(self, other: "State") -> "State":
        """Take over what ``other`` knows beside its dimensions."""
        # Of two maps that were pooled, the one with fewer positions lies deeper in the network.
        pooled = {
            axis: min((state.pooled[axis] for state in (self, other) if axis in state.pooled), key=len)
            for axis in {*self.pooled, *other.pooled}
        }
        return replace(
            self,
            whole=self.whole | other.whole,
            share=self.share | other.share,
            pooled=pooled,
            unknown=self.unknown or other.unknown,
        )


def join_dims(left: Dim, right: Dim) -> Dim | None:
    """Join two dimensions position by position; one of length 1 is spread."""
    plain_left, plain_right = (all(factor.reach is None for factor in dim) for dim in (left, right))
    length_left, length_right = _length(left), _length(right)
    if length_left != length_right and 1 not in (length_left, length_right):
        return None
    if length_left != length_right:
        # A single position of space that is spread: only what was pooled is, and that has no reach.
        spread, other = (left, right) if length_left == 1 else (right, left)
        return other if all(factor.reach is None for factor in spread) else None
    if plain_left or plain_right:
        return right if plain_left else left
    left, right = (tuple(factor for factor in dim if factor.length != 1 or factor.reach) for dim in (left, right))
    if [factor.length for factor in left] != [factor.length for factor in right]:
        return None
    factors = []
    for one, two in zip(left, right, strict=True):
        if one.reach is None or two.reach is None:
            factors.append(two if one.reach is None else one)
        elif one.axis == two.axis:
            factors.append(replace(one, reach=one.reach.joined(two.reach)))
        else:
            return None
    return tuple(factors)


def _length(dim: Dim) -> int:
    length = 1
    for factor in dim:
        length *= factor.length
    return length
