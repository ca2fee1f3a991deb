"""A collate function for anyone's DataLoader."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anysize.batching import CanvasSet, plan_epoch
from anysize.batching.canvases import OWN
from anysize.batching.limits import check_at_least_one
from anysize.errors import PlanError, RaggedError
from anysize.ragged import RaggedBatch, RaggedGroup

__all__ = ["collate"]

_Keys = tuple[Any, ...]
_OWN_LENGTH = (
    "take what has its own length or kind, such as boxes, out of the samples in a function around anysize.collate"
)


def collate(
    samples: Sequence[Any],
    *,
    multiple_of: int = 1,
    canvases: CanvasSet | None = None,
    grouped: bool = False,
    max_pixels: int | None = None,
    launch_pixels: float = 65_536,
) -> Any:
    """Put samples into ragged batches: ``torch.utils.data.DataLoader(collate_fn=anysize.collate)``.

    Options are set with ``functools.partial(anysize.collate, multiple_of=8)``, which worker processes can be sent.

    Args:
        samples: N samples of one structure: images alone, pairs (image, target), or tuples, lists and dictionaries of
            entries, nested as one likes. The entry with the most axes, the first of them, is the sample's image: a
            tensor (C, *spatial). Of the others,

            * a tensor (C', *spatial) is another image, and a tensor (*spatial) of two or more axes is a label mask, if
              *spatial* is the image's in every sample: they come on the same canvas;
            * numbers, and tensors that agree in shape, are stacked to one tensor (N, ...);
            * strings are listed.
        multiple_of: lengths of a canvas are rounded up to multiples of this, so that canvases recur: a plan's
            ``multiple_of`` is unknown here.
        canvases: static canvases, as `choose_canvases` gives them, of images C x H x W: the ones that a plan was made
            for. The smallest that holds the images is taken, and one of their own size for those that are to have it.
        grouped: spread the images (C x H x W) over several canvases, as a plan with ``mixing="mixed"`` spreads a step:
            for random batches, and for the whole steps of a `BatchSampler`. The order of the samples changes, alike in
            every entry.
        max_pixels: with ``grouped``, canvas pixels that one part of the group may hold, for loops that take one part
            after another.
        launch_pixels: with ``grouped``, what one more canvas costs beside its pixels, see `plan_epoch`.

    Returns:
        What a sample is, with a `RaggedBatch` for the images, another (`RaggedBatch.from_labels`) for masks, and
        tensors or lists for the rest. With ``grouped``, a `RaggedGroup` in place of each ragged batch.

    Raises:
        RaggedError: an entry that is none of these, or samples that differ in structure.
        PlanError: ``multiple_of``, ``max_pixels`` or ``launch_pixels`` is out of its range, or an image is larger than
            ``max_pixels``.
    """
    if not samples:
        raise RaggedError("collate was given no sample", hint="the batch sampler hands out an empty list")
    multiple_of = check_at_least_one("multiple_of", multiple_of)
    if canvases is not None:
        if not isinstance(canvases, CanvasSet):
            raise PlanError(
                f"canvases are of type {type(canvases).__name__}; a CanvasSet is needed",
                hint="pass the one that the plan was made for",
            )
        if multiple_of not in (1, canvases.multiple_of):
            raise PlanError(
                f"multiple_of is {multiple_of}, and that of the canvases {canvases.multiple_of}",
                hint="leave multiple_of out: the canvases have their own",
            )
    if max_pixels is not None and not grouped:
        raise PlanError(
            f"max_pixels is {max_pixels}, and all samples go onto one canvas",
            hint="grouped=True spreads them over several; a plan's max_pixels limits what a sampler puts together",
        )
    columns = _columns(samples, ())
    image_keys = _image_keys(columns)
    sizes = [tuple(image.shape[1:]) for image in columns[image_keys]]
    if (grouped or canvases is not None) and len(sizes[0]) != 2:
        raise RaggedError(
            f"grouped=True and canvases= are for images C x H x W; {_named(image_keys)} has {len(sizes[0])} spatial "
            f"axes",
            hint="leave them out",
        )
    parts: list[Sequence[int]] = [range(len(samples))]
    extents = [_canvas(sizes, multiple_of, canvases)]
    if grouped:
        plan = plan_epoch(
            sizes,
            len(sizes),
            max_pixels=max_pixels,
            mixing="mixed",
            shuffle=False,
            canvases=canvases,
            multiple_of=multiple_of if canvases is None else None,
            launch_pixels=launch_pixels,
        )
        parts = [micro_batch.indices for micro_batch in plan[0].micro_batches]
        extents = [micro_batch.canvas for micro_batch in plan[0].micro_batches]

    def lay(make: Callable[..., RaggedBatch], column: list[Any]) -> RaggedBatch | RaggedGroup:
        laid = [make([column[number] for number in part], canvas) for part, canvas in zip(parts, extents, strict=True)]
        return RaggedGroup(laid) if grouped else laid[0]

    results = {}
    for keys, column in columns.items():
        shapes = [tuple(entry.shape) if isinstance(entry, Tensor) else () for entry in column]
        if keys == image_keys or [shape[1:] for shape in shapes] == sizes:
            results[keys] = lay(RaggedBatch.from_images, column)
        elif shapes == sizes and len(sizes[0]) > 1:  # along one axis, a mask is not told from a vector
            results[keys] = lay(RaggedBatch.from_labels, column)
        else:
            results[keys] = _joined(keys, [column[number] for part in parts for number in part], image_keys)
    return _like(samples[0], (), results)


def _children(entry: Any) -> dict[Any, Any] | None:
    """The entries of a dictionary, a tuple or a list, by their keys; None of anything else."""
    if isinstance(entry, Mapping):
        return dict(entry)
    if isinstance(entry, tuple | list):
        return dict(enumerate(entry))
    return None


def _columns(entries: Sequence[Any], keys: _Keys) -> dict[_Keys, list[Any]]:
    """Each innermost entry of all samples, by the keys that lead to it."""
    children = [_children(entry) for entry in entries]
    structures = [None if child is None else list(child) for child in children]
    for number, structure in enumerate(structures):
        # Keys may come in any order in dictionaries, and not in tuples.
        alike = structure == structures[0] or (
            isinstance(entries[number], Mapping)
            and isinstance(entries[0], Mapping)
            and set(structure or ()) == set(structures[0] or ())
        )
        if not alike:
            raise RaggedError(
                f"{_named(keys, number)} is {_kind(entries[number])}, {_named(keys, 0)} {_kind(entries[0])}: "
                f"samples of one structure are required",
                hint=_OWN_LENGTH,
            )
    if structures[0] is None:
        return {keys: list(entries)}
    columns: dict[_Keys, list[Any]] = {}
    for key in structures[0]:
        columns.update(_columns([child[key] for child in children if child is not None], (*keys, key)))
    return columns


def _image_keys(columns: dict[_Keys, list[Any]]) -> _Keys:
    """Where a sample has its image."""
    for keys, column in columns.items():
        for number, entry in enumerate(column):
            axes = _foreign_axes(entry)
            if axes > 1:
                to_tensor = "torch.from_numpy(numpy.array(it))"
                raise RaggedError(
                    f"{_named(keys, number)} is {_kind(entry)}; a torch.Tensor is required",
                    hint=f"in the data set: {to_tensor}.permute(2, 0, 1).float().div(255) for an image (H, W, C), "
                    f"{to_tensor} for a mask (H, W)",
                )
    axes_of = {keys: column[0].dim() for keys, column in columns.items() if isinstance(column[0], Tensor)}
    if max(axes_of.values(), default=0) < 2:
        kinds = ", ".join(f"{_named(keys)} is {_kind(column[0])}" for keys, column in columns.items())
        raise RaggedError(
            f"{kinds}: a sample has to hold an image, a tensor (C, *spatial)",
            hint="return one from the data set's __getitem__",
        )
    found = max(axes_of, key=lambda keys: axes_of[keys])  # the first of them
    for number, entry in enumerate(columns[found]):
        if not isinstance(entry, Tensor) or entry.dim() != axes_of[found]:
            raise RaggedError(
                f"{_named(found, number)} is {_kind(entry)}, {_named(found, 0)} {_kind(columns[found][0])}: images of "
                f"one number of axes are required",
                hint="convert them in the data set's __getitem__, or leave such samples out",
            )
    return found


def _foreign_axes(entry: Any) -> int:
    """The axes of an array that is no tensor, of NumPy or PIL; 0 for all else."""
    interface = None if isinstance(entry, Tensor) else getattr(entry, "__array_interface__", None)
    return len(interface["shape"]) if isinstance(interface, dict) else 0


def _canvas(sizes: list[tuple[int, ...]], multiple_of: int, canvases: CanvasSet | None) -> tuple[int, ...]:
    if canvases is not None:
        multiple_of = canvases.multiple_of
        holding = [canvas for canvas in canvases.canvases if all(h <= canvas[0] and w <= canvas[1] for h, w in sizes)]
        if holding and (canvases.assign(sizes) != OWN).any():
            return holding[0]
    return tuple(-(-max(lengths) // multiple_of) * multiple_of for lengths in zip(*sizes, strict=True))


def _joined(keys: _Keys, column: list[Any], image_keys: _Keys) -> Any:
    """What is no image, one entry a sample, as a tensor (N, ...) or a list of strings."""
    if all(isinstance(entry, str | bytes) for entry in column):
        return column
    try:
        tensors = [torch.as_tensor(entry) for entry in column]
    except (TypeError, ValueError, RuntimeError) as error:
        raise RaggedError(
            f"{_named(keys)} is {_kind(column[0])}; a tensor, a number or a string is required", hint=_OWN_LENGTH
        ) from error
    for tensor in tensors:
        if tensor.shape != tensors[0].shape:
            raise RaggedError(
                f"{_named(keys)} has shape {tuple(tensors[0].shape)} in one sample and {tuple(tensor.shape)} in "
                f"another; one shape, or in each sample the height and width of {_named(image_keys)}, is required",
                hint=_OWN_LENGTH,
            )
    return torch.stack(tensors)


def _like(sample: Any, keys: _Keys, results: dict[_Keys, Any]) -> Any:
    """The results in the structure of a sample."""
    children = _children(sample)
    if children is None:
        return results[keys]
    made = {key: _like(child, (*keys, key), results) for key, child in children.items()}
    if isinstance(sample, Mapping):
        return made
    if isinstance(sample, list):
        return list(made.values())
    return type(sample)(*made.values()) if hasattr(sample, "_fields") else tuple(made.values())


def _named(keys: _Keys, sample: int | None = None) -> str:
    which = "each sample" if sample is None else f"sample {sample}"
    entry = "entry " + "".join(f"[{key!r}]" for key in keys)
    return which if not keys else entry if sample is None else f"{entry} of {which}"


def _kind(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return f"a dictionary of {', '.join(map(str, entry))}"
    if isinstance(entry, tuple | list):
        return f"a {type(entry).__name__} of {len(entry)}"
    shape = getattr(entry, "shape", None)
    return type(entry).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
