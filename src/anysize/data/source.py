"""From a folder on disk to tables of images to train and to validate on, with every file accounted for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anysize.data.check import summarised
from anysize.data.formats import Listing, read_listing
from anysize.data.image_list import ImageList, list_images
from anysize.data.index import ImageCheck, Progress, SizeIndex
from anysize.data.masks.census import MaskCensus
from anysize.data.masks.coding import MaskCoding
from anysize.data.masks.faults import MaskProblem, refuse_masks
from anysize.data.masks.loading import ReadMasks, read_masks
from anysize.data.masks.rules import MaskRules
from anysize.data.options import DataOptions
from anysize.data.problems import FileProblem, describe, printable
from anysize.data.scanning import Scanned, check_files, refuse_unreadable, scan_table
from anysize.data.shards.listing import scan_shards
from anysize.data.split import keep_classes, stratified_split
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
        coding: how a mask's file becomes class indices, for `read_mask`; None where pixels are not labelled, as all
            that follows.
        palette: (red, green, blue) of each class, for drawing: the data's own, or else a default.
        census: pixels of each class in every mask that could be read; `train_census` and `val_census` are its rows.
        mask_problems: what is odd about the masks; without errors, unless `load_data` was told not to raise them.
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
    coding: MaskCoding | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    census: MaskCensus | None = None
    mask_problems: tuple[MaskProblem, ...] = ()

    @property
    def task(self) -> Literal["classify", "segment"]:
        """Whether pixels are labelled, or at most images."""
        return "classify" if self.coding is None else "segment"

    @property
    def train_census(self) -> MaskCensus | None:
        """The census of ``train``, row by row."""
        return _census_of(self.census, self.train)

    @property
    def val_census(self) -> MaskCensus | None:
        """The census of ``val``, row by row."""
        return _census_of(self.census, self.val)


def _census_of(census: MaskCensus | None, table: ImageTable | None) -> MaskCensus | None:
    if census is None or table is None or table.masks is None:
        return None
    return census.of(table.masks)


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
    raise_mask_problems: bool = True,
) -> DataSource:
    """Recognise the layout, read the headers of all images, and split them; no pixel of an image is decoded.

    Label masks are decoded, once: which classes there are, and whether their values make sense, shows in no header.

    Args:
        root: a folder, a .csv file, or a .tar file.
        options: see `DataOptions`.
        index: known headers; None for the user's own, in the cache folder.
        progress: told (files done, files in all); of shards (MiB done, MiB in all).
        raise_unreadable: False leaves unreadable files in the source's ``problems``, for `check_source` to raise
            in one error with those that open and do not decode.
        raise_mask_problems: False leaves errors of masks in the source's ``mask_problems``, for whoever reports all of
            them; such a source cannot be trained on.

    Raises:
        LayoutError: the layout is not known, or contradicts itself.
        UnreadableImagesError: files that cannot be read, all in one, without ``skip_unreadable``.
        DataError: a class has lost all its training images that way; or label masks that cannot be used as they are,
            all that is wrong with them in one error, each with its fix.
        UsageError: a file of class names that cannot be read.
    """
    listing = read_listing(root)
    if listing.in_shards:
        listing, scanned = scan_shards(listing, options, progress)
    else:
        scanned = scan_table(listing.root, listing.paths, options, index, progress)
    read: ReadMasks | None = None
    if listing.masks is not None:
        read = read_masks(listing, listing.masks, scanned, options, index, progress)
        scanned = read.scanned
    if raise_unreadable or not len(scanned.table):
        _refuse_unreadable(listing, scanned, options)
    if read is not None and raise_mask_problems:
        refuse_masks(listing.root, read.problems)
    train, val, split_notes = _split(listing, scanned, options, read)
    source = DataSource(
        root=listing.root,
        layout=listing.layout,
        classes=listing.classes if read is None else read.meaning.classes,
        train=train,
        val=val,
        problems=scanned.problems,
        ignored=listing.ignored,
        notes=(*listing.notes, *scanned.notes, *_mask_notes(read, options), *split_notes),
        has_own_split=any(split is not None for split in listing.splits),
        coding=None if read is None else read.meaning.coding,
        palette=None if read is None else read.meaning.palette,
        census=None if read is None else read.census,
        mask_problems=() if read is None else read.problems,
    )
    _require_classes(source)
    return source


def _refuse_unreadable(listing: Listing, scanned: Scanned, options: DataOptions) -> None:
    count, what = len(listing.paths), "images"
    if listing.masks is not None:
        count, what = count + len(listing.masks), "images and masks"
    refuse_unreadable(scanned.problems, count, options, what=what, num_left=len(scanned.table))


def _mask_notes(read: ReadMasks | None, options: DataOptions) -> tuple[str, ...]:
    """What was decided about the masks, and what is odd about them."""
    if read is None:
        unused = options.masks != MaskRules()
        return ("the data have no masks: what was said about their values and classes is not used",) * unused
    odd = (f"{problem}: {problem.fix}" for problem in read.problems if problem.severity == "warning")
    return (*read.meaning.notes, *odd)


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
    listing: Listing, scanned: Scanned, options: DataOptions, read: ReadMasks | None
) -> tuple[ImageTable, ImageTable | None, tuple[str, ...]]:
    """The images to train on, those to validate on, and notes."""
    if listing.labels is None and listing.masks is None:
        return scanned.table, None, ()
    table = scanned.table
    labels = np.zeros(len(table), np.int64)  # a mask has many classes: the draw is by size, and then mended
    if listing.labels is not None:
        labels = np.array(listing.labels, np.int64)[scanned.readable]
        table = replace(table, labels=labels)
    if any(split is not None for split in listing.splits):
        is_val = np.array([split == "val" for split in listing.splits], np.bool_)[scanned.readable]
        notes: tuple[str, ...] = () if is_val.any() else (_NO_VAL,)
    elif options.val_split == 0:
        return table, None, ("val_split is 0: every image is trained on, and nothing is validated",)
    else:
        is_val = stratified_split(labels, table.sizes, options.val_split, options.split_seed)
        if read is not None:
            return _drawn(table, is_val, read)
        counts = np.bincount(labels, minlength=len(listing.classes))
        single = [printable(name) for name, count in zip(listing.classes, counts, strict=True) if count == 1]
        notes = (f"classes of a single image, which stays in training: {', '.join(single)}",) if single else ()
    return table.select(~is_val), table.select(is_val) if is_val.any() else None, notes


def _drawn(
    table: ImageTable, drawn: NDArray[np.bool_], read: ReadMasks
) -> tuple[ImageTable, ImageTable | None, tuple[str, ...]]:
    """The parts of images with masks, every class in training, and what was drawn."""
    if not drawn.any():
        return table, None, ("there is one image, which is trained on: nothing is validated",)
    present = read.census.counts > 0
    is_val = keep_classes(drawn, present, table.sizes)
    held = present[~drawn].sum(axis=0)
    lacking = np.flatnonzero((held == 0) & (present.sum(axis=0) > 0)).tolist()
    names = [printable(read.meaning.classes[label]) for label in lacking]
    kept = (f"kept in training by exchange, as no other image there has the class: {', '.join(names)}",) * bool(names)
    if not is_val.any():
        return table, None, ("every image is trained on, as each is the only one of a class: nothing is validated",)
    note = (
        f"{int(is_val.sum())} of {len(table)} images are drawn for validation, of all sizes; --val-split sets the share"
    )
    return table.select(~is_val), table.select(is_val), (note, *kept)


def _require_classes(source: DataSource) -> None:
    """Every class needs an image to train on; one that lost all of them to `skip_unreadable` is an error."""
    if source.train.labels is None:
        if not len(source.train):
            raise DataError(
                f"no readable image to train on is left\n{describe(source.problems)}", hint="repair the files"
            )
        return
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    empty = [printable(name) for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"no readable image to train on is left of: {', '.join(empty)}\n{describe(source.problems)}",
            hint="repair the files, or leave the classes out",
        )
