"""From the shards that a layout names to the images in them, with labels, classes and split."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.formats import Listing, Split
from anysize.data.formats.webdataset import CLASSES_FILE
from anysize.data.index import Progress
from anysize.data.options import DataOptions
from anysize.data.pillow import too_large
from anysize.data.problems import FileProblem, describe, printable
from anysize.data.scanning import Scanned, several_frames
from anysize.data.shards.build import open_side_index
from anysize.data.shards.members import ShardMembers
from anysize.data.shards.samples import FRAMES, GREY, NO_LABEL, UNREADABLE
from anysize.data.shards.side_index import SideIndex
from anysize.data.table import ImageTable
from anysize.errors import DataError, LayoutError

__all__ = ["scan_shards"]

_MOST_NAMED = 20


def scan_shards(listing: Listing, options: DataOptions, progress: Progress | None) -> tuple[Listing, Scanned]:
    """Index the shards that ``listing`` names, and list the images in them.

    Args:
        listing: with ``in_shards``: its paths are shards, its splits theirs.
        options: see `DataOptions`.
        progress: told (MiB done, MiB in all) where shards have to be read.

    Returns:
        The listing of the images, and their headers.

    Raises:
        LayoutError: shards that cannot be used, samples without a label beside others that have one, or labels that
            do not fit the classes.
        DataError: the index is damaged.
    """
    index, notes = open_side_index(listing.root, listing.paths, options, alone=listing.alone, progress=progress)
    members = ShardMembers(listing.root, index, np.arange(len(index), dtype=np.int64))
    if not len(index):
        raise LayoutError(
            f"no sample in the shards of {listing.root} has an image: {_shown(listing.paths)}",
            hint="a sample is an image and its label, of one name: 0001.jpg and 0001.cls",
        )
    splits = tuple(
        chain.from_iterable(
            repeat(split, entry.num_images) for split, entry in zip(listing.splits, index.entries, strict=True)
        )
    )
    labels, classes = _labels(listing.root, index, members)
    scanned = _scanned(members, options, notes)
    if labels is not None:
        scanned = replace(scanned, notes=(*scanned.notes, *_notes_on_split(classes, labels, splits)))
    listed = replace(
        listing,
        paths=members.paths,
        labels=labels,
        classes=classes,
        splits=splits,
        ignored=(*listing.ignored, *_ignored(index)),
    )
    return listed, scanned


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_MOST_NAMED])
    return shown if len(names) <= _MOST_NAMED else f"{shown} and {len(names) - _MOST_NAMED} more"


def _ignored(index: SideIndex) -> list[FileProblem]:
    """What is not read in the shards: of each kind the first, and how many more there are."""
    kinds: dict[str, tuple[str, int]] = {}
    for entry in index.entries:
        for name, reason, count in entry.ignored:
            first, before = kinds.get(reason, (f"{entry.name}/{name}", 0))
            kinds[reason] = (first, before + count)
    return [
        FileProblem(first, reason if count == 1 else f"{reason}; and {count - 1:,} more such members")
        for reason, (first, count) in kinds.items()
    ]


def _scanned(members: ShardMembers, options: DataOptions, notes: tuple[str, ...]) -> Scanned:
    index = members.side_index
    sizes = np.stack([index.records["height"], index.records["width"]], axis=1).astype(np.int64)
    flags = np.asarray(index.records["flags"])
    areas = sizes.prod(axis=1)
    reasons = {
        int(start) + row: reason
        for start, entry in zip(index.starts[:-1], index.entries, strict=True)
        for row, reason in entry.problems
    }
    for row in np.flatnonzero(areas > options.max_image_pixels).tolist():  # indexed under a higher cap
        reasons[row] = too_large(int(areas[row]), options.max_image_pixels).reason
    readable = (flags & UNREADABLE == 0) & (areas <= options.max_image_pixels)
    rows = np.flatnonzero(readable)
    chosen = members.select(rows)
    table = ImageTable(
        root=members.root,
        paths=chosen.paths,
        labels=None,
        sizes=sizes[rows],
        channels=np.where(flags[rows] & GREY, 1, 3).astype(np.int8),
        members=chosen,
    )
    return Scanned(
        table=table,
        readable=readable,
        problems=tuple(FileProblem(str(members[row]), reasons[row]) for row in sorted(reasons)),
        notes=(*notes, *several_frames(int(np.count_nonzero(flags[rows] & FRAMES)))),
    )


def _labels(root: Path, index: SideIndex, members: ShardMembers) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """(N,) labels, and the class names; None and no classes where nothing is labelled."""
    numbers = np.asarray(index.records["label"]).astype(np.int64)
    without = np.flatnonzero(numbers == NO_LABEL)
    if len(without) == len(numbers):
        return None, ()
    if len(without):
        named = [FileProblem(str(members[row]), "no .cls, and no label in a .json") for row in without[:_MOST_NAMED]]
        more = f"\n  ... and {len(without) - len(named)} more" if len(without) > len(named) else ""
        raise LayoutError(
            f"{len(without)} of {len(numbers)} samples in the shards of {root} have no label:\n{describe(named)}{more}",
            hint="give each sample a .cls file with its class, or none of them",
        )
    if numbers.max() >= len(index.labels):
        raise DataError(f"the index of the shards is damaged: {index.path}", hint="delete that file; it is made anew")
    used = [index.labels[number] for number in np.unique(numbers).tolist()]
    file = root / CLASSES_FILE
    names = _names_by_file(file, used) if file.is_file() else {label: label for label in used}
    classes = _in_order(file, names)
    place = {name: number for number, name in enumerate(classes)}
    renumbered = np.array([place[names[label]] if label in names else -1 for label in index.labels], np.int64)
    return renumbered[numbers], classes


def _in_order(file: Path, names: dict[str, str]) -> tuple[str, ...]:
    """The classes that occur: in the order of the file; without one integers by value, texts by code point."""
    used = set(names.values())
    if file.is_file():
        return tuple(name for name in _class_file(file) if name in used)
    if all(name.isascii() and name.isdigit() for name in used):
        return tuple(sorted(used, key=int))
    return tuple(sorted(used))


def _class_file(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}",
            hint=f"save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 {file} > new.txt",
        ) from error
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice or "" in names:
        what = f"names {printable(twice[0])} twice" if twice and twice[0] else "has an empty line between its names"
        raise LayoutError(f"{file} {what}", hint="give each class one line, in the order of the labels")
    return names


def _names_by_file(file: Path, used: Sequence[str]) -> dict[str, str]:
    """The class name of each label that is used: a name of the file, or the number of one of its lines."""
    names = _class_file(file)
    known = set(names)
    if all(label in known for label in used):
        return {label: label for label in used}
    # Not isdigit alone: it holds for other scripts' digits, and for ² and the like, which int() refuses.
    numbers = {label: int(label) for label in used if label.isascii() and label.isdigit()}
    found = {label: names[number] for label, number in numbers.items() if number < len(names)}
    unknown = [label for label in used if label not in found]
    if unknown:
        raise LayoutError(
            f"the shards have labels that {file} does not know: {_shown(unknown)}; it has {len(names)} names",
            hint="a label is one of its names, or the number of a line, counted from 0; correct or delete the file",
        )
    return found


def _notes_on_split(
    classes: Sequence[str], labels: NDArray[np.int64], splits: Sequence[Split | None]
) -> tuple[str, ...]:
    """What the classes of the two parts disagree on: an error where it cannot be learnt, else a note."""
    if splits[0] is None:
        return ()
    is_val = np.array([split == "val" for split in splits], np.bool_)
    train, val = set(np.unique(labels[~is_val]).tolist()), set(np.unique(labels[is_val]).tolist())
    if val - train:
        shown = ", ".join(printable(classes[label]) for label in sorted(val - train))
        raise LayoutError(
            f"the shards of val have classes that those of train have not: {shown}",
            hint="add such images to train, or take them out of val",
        )
    if train - val:
        shown = ", ".join(printable(classes[label]) for label in sorted(train - val))
        return (f"the shards of val have no images of: {shown}; how well they are learnt cannot be measured",)
    return ()
