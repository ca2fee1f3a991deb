"""From a folder on disk to tables of images to train and to validate on, with every file accounted for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from anysize.data.check import summarised
from anysize.data.formats import Listing, read_listing
from anysize.data.image_list import ImageList, list_images
from anysize.data.index import ImageCheck, Progress, SizeIndex
from anysize.data.options import DataOptions
from anysize.data.problems import FileProblem, describe, printable
from anysize.data.scanning import Scanned, check_files, refuse_unreadable, scan_table
from anysize.data.shards.listing import scan_shards
from anysize.data.split import stratified_split
from anysize.data.table import ImageTable
from anysize.errors import DataError

__all__ = [
    "CheckedSource",
    "DataOptions",
    "DataSource",
    "ImageList",
    "check_source",
    "list_images",
    "load_data",
]

_NO_VAL = "no image is left for validation"


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSource:
    """The images of a folder, split.

    Args:
        root: folder that all paths are relative to.
        layout: name of the layout it is in.
        classes: class names; a label is an index into them. Empty where nothing is labelled.
        train: images to train on; all images where nothing is labelled.
        val: images to validate on; None where nothing is labelled, or with ``val_split=0``.
        problems: unreadable files that were left out, as `DataOptions.skip_unreadable` asks.
        ignored: files that are no images, each with the reason.
        notes: what a user should know, each a sentence.
        has_own_split: the split is the data's own; otherwise it was drawn.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    train: ImageTable
    val: ImageTable | None
    problems: tuple[FileProblem, ...]
    ignored: tuple[FileProblem, ...]
    notes: tuple[str, ...]
    has_own_split: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedSource:
    """A source of which every image has been decoded to its end, with the statistics of its training images.

    Args:
        source: without the images that failed.
        mean: per channel over all pixels of the training images, in units of 0..255.
        std: per channel likewise; at least `statistics.MIN_STD`.
        remarks: images about which something should be known (a stretched range, say).
    """

    source: DataSource
    mean: tuple[float, ...]
    std: tuple[float, ...]
    remarks: tuple[FileProblem, ...]


def load_data(
    root: Path,
    options: DataOptions,
    *,
    index: SizeIndex | None = None,
    progress: Progress | None = None,
    raise_unreadable: bool = True,
) -> DataSource:
    """Recognise the layout, read the headers of all images, and split them; no pixel is decoded.

    Args:
        root: a folder, a .csv file, or a .tar file.
        options: see `DataOptions`.
        index: known headers; None for the user's own, in the cache folder.
        progress: told (files done, files in all); of shards (MiB done, MiB in all).
        raise_unreadable: False leaves unreadable files in the source's ``problems``, for `check_source` to raise
            in one error with those that open and do not decode.

    Raises:
        LayoutError: the layout is not known, or contradicts itself.
        UnreadableImagesError: files that cannot be read, all in one, without ``skip_unreadable``.
        DataError: a class has lost all its training images that way.
    """
    listing = read_listing(root)
    if listing.in_shards:
        listing, scanned = scan_shards(listing, options, progress)
    else:
        scanned = scan_table(listing.root, listing.paths, options, index, progress)
    if raise_unreadable or len(scanned.problems) == len(listing.paths):
        refuse_unreadable(scanned.problems, len(listing.paths), options)
    train, val, split_notes = _split(listing, scanned, options)
    source = DataSource(
        root=listing.root,
        layout=listing.layout,
        classes=listing.classes,
        train=train,
        val=val,
        problems=scanned.problems,
        ignored=listing.ignored,
        notes=(*listing.notes, *scanned.notes, *split_notes),
        has_own_split=any(split is not None for split in listing.splits),
    )
    _require_classes(source)
    return source


def check_source(
    source: DataSource,
    channels: Literal[1, 3],
    options: DataOptions,
    *,
    index: SizeIndex | None = None,
    progress: Progress | None = None,
) -> CheckedSource:
    """Decode every image of a source once, so that no broken file stops a run halfway; arguments as of
    `load_data`.

    Args:
        source: from `load_data`.
        channels: 1 or 3: how the images will be read.

    Raises:
        UnreadableImagesError: files that cannot be decoded, all in one, without ``skip_unreadable``.
        DataError: a class has lost all its training images.
    """
    source = _with_names(source)
    everything = source.train if source.val is None else source.train.joined(source.val)
    paths = everything.paths
    found, problems, cache_notes = check_files(source.root, paths, everything.members, options, index, progress)
    refuse_unreadable((*source.problems, *problems), len(source.problems) + len(paths), options)
    num_train = len(source.train)
    good = np.array([isinstance(item, ImageCheck) for item in found], np.bool_)
    val = None if source.val is None else source.val.select(good[num_train:])
    lost_val = val is not None and len(val) == 0
    notes = (*source.notes, *cache_notes, *((_NO_VAL,) if lost_val else ()))
    checked = replace(
        source,
        train=source.train.select(good[:num_train]),
        val=None if lost_val else val,
        problems=source.problems + problems,
        notes=tuple(dict.fromkeys(notes)),
    )
    _require_classes(checked)
    result = summarised(paths[:num_train], found[:num_train], channels)
    remarks = tuple(
        FileProblem(path, item.remark)
        for path, item in zip(paths, found, strict=True)
        if isinstance(item, ImageCheck) and item.remark is not None
    )
    return CheckedSource(source=checked, mean=result.mean, std=result.std, remarks=remarks)


def _with_names(source: DataSource) -> DataSource:
    """With all names of images in shards read: whatever comes after a check writes every one of them."""

    def named(table: ImageTable) -> ImageTable:
        return replace(table, paths=tuple(table.paths))

    return replace(source, train=named(source.train), val=None if source.val is None else named(source.val))


def _split(
    listing: Listing, scanned: Scanned, options: DataOptions
) -> tuple[ImageTable, ImageTable | None, tuple[str, ...]]:
    """The images to train on, those to validate on, and notes."""
    if listing.labels is None:
        return scanned.table, None, ()
    labels = np.array(listing.labels, np.int64)[scanned.readable]
    table = replace(scanned.table, labels=labels)
    if any(split is not None for split in listing.splits):
        is_val = np.array([split == "val" for split in listing.splits], np.bool_)[scanned.readable]
        notes: tuple[str, ...] = () if is_val.any() else (_NO_VAL,)
    elif options.val_split == 0:
        return table, None, ("val_split is 0: every image is trained on, and nothing is validated",)
    else:
        is_val = stratified_split(labels, table.sizes, options.val_split, options.split_seed)
        counts = np.bincount(labels, minlength=len(listing.classes))
        single = [printable(name) for name, count in zip(listing.classes, counts, strict=True) if count == 1]
        notes = (f"classes of a single image, which stays in training: {', '.join(single)}",) if single else ()
    return table.select(~is_val), table.select(is_val) if is_val.any() else None, notes


def _require_classes(source: DataSource) -> None:
    """Every class needs an image to train on; one that lost all of them to `skip_unreadable` is an error."""
    if source.train.labels is None:
        return
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    empty = [printable(name) for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"no readable image to train on is left of: {', '.join(empty)}\n{describe(source.problems)}",
            hint="repair the files, or leave the classes out",
        )
