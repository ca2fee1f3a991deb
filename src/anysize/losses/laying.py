"""Logits beside their targets, whatever they come in: plain tensors, ragged batches, groups, labels of whole images.

Losses work on pairs of dense tensors in which each pixel that does not count (padding, ignored) is marked. What lies
under such a pixel is never computed with, so neither a value nor a gradient can come out of it, NaN included.

Legend: N images, K classes, P pixels of the canvas, M of them that count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from anysize.errors import DataError, MixedSizesError, UsageError
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.sizes import format_size

__all__ = ["Labels", "Pair", "lay_labels", "lay_pairs", "widened"]

_FEW_CLASSES = 8  # below, rows of a pixel's classes are so short that softmax over them is slow (measured, CPU)


@dataclass(frozen=True, eq=False)
class Labels:
    """Targets of some images on one canvas."""

    targets: Tensor
    """(N, P) class indices, and anything where they do not count."""
    counted: Tensor
    """(N, P) bool: inside its image, and not ignored."""
    num_counted: tuple[int, ...]
    """For each image, how many of its pixels count."""
    num_classes: int
    is_maps: bool
    """Whether they label pixels; else whole images, and P is 1."""

    @property
    def num_images(self) -> int:
        """How many images have a pixel that counts."""
        return sum(number > 0 for number in self.num_counted)

    @cached_property
    def indices(self) -> Tensor:
        """(N, P) int64 class indices, 0 where they do not count."""
        return torch.where(self.counted, self.targets, 0).long()

    @cached_property
    def class_counts(self) -> Tensor:
        """(N, K) int64: for each image, how many counted pixels each class has."""
        num_images, num_classes = len(self.targets), self.num_classes
        images = torch.arange(num_images, device=self.targets.device)[:, None]
        cells = (images * num_classes + self.indices)[self.counted]
        return torch.bincount(cells, minlength=num_images * num_classes).reshape(num_images, num_classes)

    def only(self, counted: Tensor, num_counted: Sequence[int]) -> "Labels":
        """Return the same targets, of which only the pixels in ``counted`` (N, P) count."""
        return Labels(self.targets, counted, tuple(num_counted), self.num_classes, self.is_maps)


@dataclass(frozen=True, eq=False)
class Pair:
    """Logits and targets of some images on one canvas."""

    logits: Tensor
    """(N, K, P), and anything where the labels do not count."""
    labels: Labels

    @cached_property
    def places(self) -> Tensor:
        """(M,) int64: the pixels that count, numbered over (N, P)."""
        return self.labels.counted.flatten().nonzero()[:, 0]

    @cached_property
    def pixels(self) -> Tensor:
        """The logits of the pixels that count, image after image, in float32 at least; classes along axis 1.

        Whatever is quickest to get: (M, K) where a pixel's classes lie together in memory, (1, K, M) where they do not,
        and (N, K, P) or (N, K) where all count. `pixel_labels` goes with it.
        """
        _, num_classes, num_pixels = self.logits.shape
        if self._all_count:
            return widened(self.logits if num_pixels > 1 else self.logits[:, :, 0])
        if self._by_rows:
            rows = self.logits.movedim(1, 2).reshape(-1, num_classes)
            return widened(rows.index_select(0, self.places))
        columns = self.logits.movedim(0, 1).reshape(num_classes, -1)
        return widened(columns.index_select(1, self.places))[None]

    @cached_property
    def pixel_labels(self) -> Tensor:
        """int64 labels of `pixels`, of its shape without the classes."""
        if self._all_count:
            return self.labels.indices if self.logits.shape[2] > 1 else self.labels.indices[:, 0]
        labels = self.labels.targets.flatten().index_select(0, self.places).long()
        return labels if self._by_rows else labels[None]

    @property
    def _all_count(self) -> bool:
        return sum(self.labels.num_counted) == self.labels.targets.numel()

    @property
    def _by_rows(self) -> bool:
        num_classes = self.logits.shape[1]
        return self.labels.targets.shape[1] == 1 or (num_classes >= _FEW_CLASSES and self.logits.stride(1) == 1)


def widened(values: Tensor) -> Tensor:
    """Return the values in float32 at least: half precision has too few digits for sums over an image."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def lay_labels(targets: Any, num_classes: int, ignore_label: int | None) -> tuple[Labels, ...]:
    """Bring targets to one `Labels` a canvas.

    Args:
        targets: integers: (N,), or maps (N, *spatial); a ragged batch as `RaggedBatch.from_labels` lays it; a group of
            such; or a list with one of these for each part of a group. Padding of a plain tensor must be ignored.
        num_classes: K.
        ignore_label: a value that does not count.

    Raises:
        DataError: a label that is no class and not ignored.
        UsageError: targets that are no class indices.
    """
    done: list[Labels] = []
    start = 0
    for part in _parts(targets):
        done.append(_labels(part, num_classes, ignore_label, start))
        start += len(part)
    return tuple(done)


def lay_pairs(logits: Any, targets: Any, num_classes: int, ignore_label: int | None) -> tuple[Pair, ...]:
    """Bring logits and targets to one `Pair` a canvas.

    Args:
        logits: (N, K), or maps (N, K, *spatial): a tensor, a ragged batch or a group.
        targets: see `lay_labels`, at the same sizes; plain ones of ragged logits lie on the same canvas.
        num_classes: K.
        ignore_label: a target that does not count.

    Raises:
        DataError: a label that is no class and not ignored.
        MixedSizesError: targets of other sizes than the logits.
        UsageError: logits or targets of another kind or number of classes.
    """
    many, few = _parts(logits), _parts(targets)
    if [len(part) for part in many] != [len(part) for part in few]:
        raise UsageError(
            f"the logits are of {_listed(many)} images and the targets of {_listed(few)}: both must be divided into "
            "batches in the same way",
            hint="one target an image; beside a RaggedGroup of logits, a RaggedGroup of targets",
        )
    done: list[Pair] = []
    start = 0
    for mine, its in zip(many, few, strict=True):
        done.append(_pair(mine, its, num_classes, ignore_label, start))
        start += len(mine)
    return tuple(done)


def _parts(value: Any) -> tuple[Any, ...]:
    parts = value.parts if isinstance(value, RaggedGroup) else value
    parts = tuple(parts) if isinstance(parts, list | tuple) else (parts,)
    for part in parts:
        if not isinstance(part, Tensor | RaggedBatch):
            raise UsageError(
                f"a loss was given a {type(part).__name__}; a tensor, a RaggedBatch or a RaggedGroup is required",
                hint="a network's mapping of outputs goes in one by one: loss(output['out'], targets)",
            )
    return parts


def _listed(parts: Sequence[Any]) -> str:
    return " + ".join(str(len(part)) for part in parts)


def _pair(logits: Any, targets: Any, num_classes: int, ignore_label: int | None, start: int) -> Pair:
    canvas: Tensor = logits.canvas if isinstance(logits, RaggedBatch) else logits
    _check_logits(logits, canvas, num_classes)
    extents = canvas.shape[2:]
    if isinstance(targets, RaggedBatch):
        sizes = logits.sizes if isinstance(logits, RaggedBatch) else (tuple(extents),) * len(logits)
        _check_sizes(sizes, targets.sizes, start)
        extents = torch.Size(map(min, zip(extents, targets.extents, strict=True)))
    elif targets.shape != (len(canvas), *extents):
        raise MixedSizesError(
            f"the targets have shape {tuple(targets.shape)} beside logits of shape {tuple(canvas.shape)}: "
            f"{(len(canvas), *extents)} is required",
            hint="the network must return maps of its images' sizes; lay label maps with RaggedBatch.from_labels(masks)"
            if canvas.dim() > 2
            else "one class index an image",
        )
    window: Any = (..., *(slice(0, extent) for extent in extents))
    inside = logits.mask[:, 0][window] if isinstance(logits, RaggedBatch) else None
    labels = _labels(targets, num_classes, ignore_label, start, window, inside)
    return Pair(canvas[window].flatten(2) if extents else canvas[:, :, None], labels)


def _check_logits(logits: Any, canvas: Tensor, num_classes: int) -> None:
    if isinstance(logits, RaggedBatch) and not logits.is_canonical:
        raise UsageError(
            "the axes of the logits were rearranged; a loss takes (N, K, *spatial)", hint="logits.permute(0, 3, 1, 2)"
        )
    if not canvas.is_floating_point() or canvas.dim() < 2:
        raise UsageError(
            f"the logits are a {canvas.dtype} tensor of shape {tuple(canvas.shape)}; floating-point numbers (N, K) or "
            "(N, K, *spatial) are required"
        )
    if canvas.shape[1] != num_classes:
        raise UsageError(
            f"the logits hold {canvas.shape[1]} classes (shape {tuple(canvas.shape)}), the loss was made for "
            f"{num_classes}: both must agree",
            hint=f"a network with num_classes={num_classes}, or a loss with num_classes={canvas.shape[1]}",
        )


def _check_sizes(mine: Sequence[Sequence[int]], its: Sequence[Sequence[int]], start: int) -> None:
    for number, (one, other) in enumerate(zip(mine, its, strict=True), start):
        if tuple(one) != tuple(other):
            raise MixedSizesError(
                f"the logits of image {number} are {format_size(one)} and its targets {format_size(other)}: a loss "
                "compares them pixel by pixel",
                hint="bring the logits to the images' size: F.interpolate(logits, size=images.shape[-2:])",
            )


def _labels(
    targets: Any,
    num_classes: int,
    ignore_label: int | None,
    start: int,
    window: Any = ...,
    inside: Tensor | None = None,
) -> Labels:
    """Mark what counts, and look at the labels' range once: one wait for the device."""
    canvas: Tensor = targets.canvas if isinstance(targets, RaggedBatch) else targets
    if isinstance(targets, RaggedBatch):
        if len(targets.layout) != len(targets.extents) + 1:
            raise UsageError(
                f"the targets have shape {tuple(canvas.shape)}, with an axis of channels; (N, *spatial) is required",
                hint="lay label maps with RaggedBatch.from_labels(masks)",
            )
        inside = targets.mask[window]
    if canvas.is_floating_point() or canvas.is_complex() or canvas.dtype == torch.bool:
        raise UsageError(
            f"the targets are {canvas.dtype}; class indices in integers are required", hint="targets.long()"
        )
    is_maps = canvas.dim() > 1
    canvas = canvas[window].flatten(1) if is_maps else canvas[:, None]
    counted = _not_equal(canvas, ignore_label)
    if inside is not None:
        counted = counted & inside.flatten(1)
    wrong = counted & _no_class(canvas, num_classes)
    num_counted, num_wrong = torch.stack([counted.sum(1), wrong.sum(1)]).tolist()
    if any(num_wrong):
        image = next(image for image, number in enumerate(num_wrong) if number)
        value = int(canvas[image][wrong[image]][0])
        raise _wrong_label(value, num_wrong[image], start + image, num_classes, ignore_label, is_maps)
    return Labels(canvas, counted, tuple(num_counted), num_classes, is_maps)


def _not_equal(targets: Tensor, label: int | None) -> Tensor:
    limits = torch.iinfo(targets.dtype)
    if label is None or not limits.min <= label <= limits.max:
        return torch.ones_like(targets, dtype=torch.bool)
    return targets != label


def _no_class(targets: Tensor, num_classes: int) -> Tensor:
    limits = torch.iinfo(targets.dtype)
    wrong = targets >= num_classes if num_classes <= limits.max else torch.zeros_like(targets, dtype=torch.bool)
    return wrong | (targets < 0) if limits.min < 0 else wrong


def _wrong_label(
    value: int, number: int, image: int, num_classes: int, ignore_label: int | None, is_maps: bool
) -> DataError:
    ignored = "" if ignore_label is None else f", and {ignore_label} where ignored"
    have = f"has the label {value}"
    if is_maps:
        have = f"has {number} pixel{'' if number == 1 else 's'} whose label is no class, such as {value}"
    fixes = [f"--ignore-label {value} if it stands for pixels without a label"] if is_maps else []
    if value >= 0:
        fixes.append(f"a network with {value + 1} classes or more")
    return DataError(
        f"image {image} of the batch {have}: labels of {num_classes} classes are 0 to {num_classes - 1}{ignored}",
        hint=", or ".join(fixes) or "class indices start at 0",
    )
