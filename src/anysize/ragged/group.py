"""`RaggedGroup`: several ragged batches that go through a network as one.

A step's images may differ so much in size that no single canvas suits them. On several canvases, each for images that
are alike, little is padded; and where an operator looks at all images at once (batch normalisation), it sees those of
every canvas, so that the result is that of the whole step.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anysize.errors import RaggedError
from anysize.ragged.batch import RaggedBatch
from anysize.ragged.dispatch import check_layouts, missing_rule, substitute
from anysize.ragged.lengths import Length
from anysize.ragged.operators import TensorLike
from anysize.ragged.registry import lookup_rule, refusal
from anysize.ragged.stacked import StackedBatches

__all__ = ["RaggedGroup", "together"]


@dataclass(init=False, repr=False, eq=False)  # as `RaggedBatch` is, and for the same reason
class RaggedGroup(TensorLike):
    """Ragged batches of one kind, each on its own canvas; takes a batch's place as the input of a module.

    A module's output is again a group where space survives, and one plain tensor (N, ...) where it is gone, with the
    images in the order of the parts.

    Args:
        parts: one batch or more, of the same number of axes and channels, dtype and device.

    Raises:
        RaggedError: no part, or parts that differ in kind.
    """

    __slots__ = ("parts",)
    parts: tuple[RaggedBatch, ...]

    def __init__(self, parts: Sequence[RaggedBatch]) -> None:
        if not parts:
            raise RaggedError("a group of no ragged batch was asked for", hint="pass one batch or more")
        first = parts[0]
        for number, part in enumerate(parts):
            mine, its = _kind(first), _kind(part)
            if mine != its:
                raise RaggedError(
                    f"part {number} of the group has (axes, channels, dtype, device) {its}, part 0 has {mine}: all "
                    f"must agree",
                    hint="convert the parts before grouping them",
                )
        self.parts = tuple(parts)

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The true size of each image, part after part."""
        return tuple(size for part in self.parts for size in part.sizes)

    @property
    def num_real(self) -> int:
        """The number of real pixels of all images."""
        return sum(part.num_real for part in self.parts)

    def unbind(self, dim: int = 0) -> Any:
        """Return the images, each at its true size, part after part; along another axis as ``torch.Tensor.unbind``."""
        if dim % self.dim():
            return self._dispatch(Tensor.unbind, (self, dim), {})
        return [image for part in self.parts for image in part.unbind()]

    @property
    def shape(self) -> tuple[Any, ...]:
        """(N, C, *lengths): the spatial axes are `Length`s, one integer per image."""
        shapes = zip(*(part.shape for part in self.parts), strict=True)
        return (len(self), *(_joined_length(lengths) for lengths in list(shapes)[1:]))

    def size(self, dim: int | None = None) -> Any:
        """As ``torch.Tensor.size``, with `Length`s for the spatial axes."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of axes of the canvases."""
        return self.parts[0].dim()

    @property
    def ndim(self) -> int:
        """The number of axes of the canvases."""
        return self.dim()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the canvases."""
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
        """The device of the canvases."""
        return self.parts[0].device

    def to(self, *args: Any, **kwargs: Any) -> "RaggedGroup":
        """As ``torch.Tensor.to``, of each part."""
        return RaggedGroup([part.to(*args, **kwargs) for part in self.parts])

    def pin_memory(self) -> "RaggedGroup":
        """Return the images in page-locked memory; DataLoader calls this for ``pin_memory=True``."""
        return RaggedGroup([part.pin_memory() for part in self.parts])

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __repr__(self) -> str:
        return f"RaggedGroup({', '.join(map(repr, self.parts))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return RaggedGroup, (self.parts,)

    @classmethod
    def _dispatch(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rule = lookup_rule(function)
        if rule is None:
            raise missing_rule(function)
        if rule.whole_group:
            return rule.work(function, *args, **kwargs)
        group = next(_groups_among((*args, *kwargs.values())))
        results = []
        for number in range(len(group.parts)):

            def part_of(value: Any, number: int = number) -> Any:
                return _part(function, group, value, number, rule.per_image_operands)

            part_args = substitute(args, part_of)
            part_kwargs = {name: substitute(value, part_of) for name, value in kwargs.items()}
            if not rule.any_layout:
                check_layouts(function, part_args, part_kwargs)
            results.append(rule.work(function, *part_args, **part_kwargs))
        return _joined(function, group, results)


def _joined_length(lengths: Sequence[Any]) -> Any:
    if isinstance(lengths[0], Length):
        return Length(tuple(value for length in lengths for value in length.values))
    return lengths[0]


def _kind(batch: RaggedBatch) -> tuple[Any, ...]:
    axes = batch.dim() if batch.is_canonical else batch.layout
    channels = None if batch.layout[1] else batch.canvas.shape[1]
    return axes, channels, batch.dtype, batch.device


def _part(function: Callable[..., Any], group: RaggedGroup, value: Any, number: int, per_image: bool) -> Any:
    """Return what stands for ``value`` when part ``number`` of the group is worked."""
    if value is group:
        return group.parts[number]
    if isinstance(value, RaggedGroup):
        if [len(part) for part in value.parts] != [len(part) for part in group.parts]:
            raise refusal(function, "its groups are divided into parts in different ways")
        return value.parts[number]
    if isinstance(value, RaggedBatch):
        raise refusal(function, "a group and a single batch have no exact rule together")
    is_length = isinstance(value, Length)
    if not is_length and not (per_image and isinstance(value, Tensor)):
        return value
    start = sum(len(part) for part in group.parts[:number])
    mine = slice(start, start + len(group.parts[number]))
    if is_length:
        return Length(value.values[mine])
    cut = value.dim() == group.dim() and value.shape[0] == len(group) > 1
    return value[mine] if cut else value


def _groups_among(values: Iterable[Any]) -> Iterator[RaggedGroup]:
    for value in values:
        if isinstance(value, RaggedGroup):
            yield value
        elif isinstance(value, list | tuple):
            yield from _groups_among(value)


def _joined(function: Callable[..., Any], group: RaggedGroup, results: list[Any]) -> Any:
    """Join what a rule returned for each part: batches to a group, tensors along the images, sequences item by item."""
    if all(isinstance(result, RaggedBatch) for result in results):
        in_place = all(result is part for result, part in zip(results, group.parts, strict=True))
        if in_place:
            return group
        if any(_kind(result) != _kind(results[0]) for result in results):
            raise refusal(function, "its results differ in kind from part to part, for the images of one agree in size")
        return RaggedGroup(results)
    if all(isinstance(result, Tensor) for result in results):
        images = [len(part) for part in group.parts]
        if [len(result) if result.dim() else 0 for result in results] == images:
            if any(result.shape[1:] != results[0].shape[1:] for result in results):
                shapes = ", ".join(str(tuple(result.shape)) for result in results)
                raise refusal(function, f"the results of the group's parts differ in shape: {shapes}")
            return torch.cat(results)
    elif all(isinstance(result, StackedBatches) for result in results):
        return StackedBatches([RaggedGroup(parts) for parts in zip(*(r.batches for r in results), strict=True)])
    elif all(isinstance(result, list | tuple) for result in results):
        return type(results[0])(_joined(function, group, list(items)) for items in zip(*results, strict=True))
    elif all(result is None for result in results):  # written to
        return None
    raise refusal(function, f"a result of type {type(results[0]).__name__} cannot be joined over the group's parts")


def together(batches: Sequence[RaggedBatch]) -> RaggedBatch | RaggedGroup:
    """Return what goes through a network at once: a group, or the one batch itself."""
    return batches[0] if len(batches) == 1 else RaggedGroup(batches)
