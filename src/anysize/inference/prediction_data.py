"""The images to predict, found and checked."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from anysize.console import Console
from anysize.data import DataOptions, DataSource, FileProblem, ImageTable, check_source, list_images
from anysize.data.formats import read_listing
from anysize.data.problems import printable
from anysize.errors import DataError, LayoutError
from anysize.inference.config import PredictConfig
from anysize.inference.requirements import leave_out_small
from anysize.inference.trained import TrainedNetwork

__all__ = ["find_images"]


def find_images(
    config: PredictConfig, network: TrainedNetwork, console: Console
) -> tuple[ImageTable, tuple[FileProblem, ...]]:
    """Find the images and check that each decodes, so that one error can name all that do not.

    Of a folder of images with label masks the masks are left out; a folder of masks that is named itself is answered
    as any other.

    Returns:
        The images, and what is left out.

    Raises:
        UnreadableImagesError: images that cannot be read, without ``skip_unreadable``.
        DataError: no image is left.
    """
    options = DataOptions(skip_unreadable=config.skip_unreadable, max_image_pixels=config.max_image_pixels)
    with console.bar("reading sizes", 0) as bar:
        found = list_images(config.images, options, progress=bar.set, raise_unreadable=False)
    masks = _masks_in(config.images, found.table.paths, found.problems, console)
    table = found.table.select(np.array([path not in masks for path in found.table.paths], np.bool_))
    if not len(table):
        raise DataError("no image is left to predict: all that were found are label masks", hint="name other images")
    source = DataSource(
        root=Path(),
        layout="files",
        classes=(),
        train=table,
        val=None,
        problems=tuple(problem for problem in found.problems if problem.path not in masks),
        ignored=found.ignored,
        notes=found.notes,
    )
    with console.bar("checking that every image decodes", 0) as bar:
        source = check_source(source, network.channels, options, progress=bar.set).source
    for note in source.notes:
        console.say(f"note: {note}")
    table, small = leave_out_small(source.train, config.min_side, network.card.max_side)
    left_out = [*source.ignored, *source.problems, *small]
    for problem in left_out:
        console.warn(f"left out: {problem}")
    left_out += masks.values()
    if not len(table):
        raise DataError("no image is left to predict", hint="leave out --min-side and --skip-unreadable to see why")
    return table, tuple(left_out)


def _masks_in(
    given: Sequence[Path], paths: Sequence[str], problems: Sequence[FileProblem], console: Console
) -> dict[str, FileProblem]:
    """The files among ``paths`` (and those of ``problems``) that are label masks of a folder given, and a note."""
    masks: dict[str, FileProblem] = {}
    named = {path.as_posix() for path in given}
    every = (*paths, *(problem.path for problem in problems))
    for root in given:
        folders, files, layout = _mask_places(root) if root.is_dir() else (set(), set(), "")
        above = {root.as_posix(), *_parents(root.as_posix())}
        inside = [
            path
            for path in every
            if (path in files or not folders.isdisjoint(_parents(path)))
            and named.isdisjoint({path, *_parents(path)} - above)  # what is named itself is answered
        ]
        new = [path for path in dict.fromkeys(inside) if path not in masks]
        masks |= {path: FileProblem(path, f"a label mask ({layout})") for path in new}
        if new:
            where = ", ".join(printable(folder) for folder in sorted({_parents(path)[0] for path in new}))
            console.say(
                f"note: {root} holds images with label masks ({layout}): the masks, {len(new)} files in {where}, are "
                "not predicted"
            )
    return masks


def _parents(path: str) -> list[str]:
    return [folder.as_posix() for folder in PurePosixPath(path).parents]


def _mask_places(root: Path) -> tuple[set[str], set[str], str]:
    """The folders below ``root`` that hold masks and no image, the masks beside images, and the layout."""
    try:
        listing = read_listing(root)
    except LayoutError:  # of no layout: there is nothing that says which files are masks
        return set(), set(), ""
    if listing.masks is None:
        return set(), set(), ""
    files = {(listing.root / mask).as_posix() for mask in listing.masks}
    images = {folder for path in listing.paths for folder in _parents((listing.root / path).as_posix())}
    folders = {_parents(mask)[0] for mask in files} - images
    if listing.layout == "voc":
        folders.add((listing.root / "SegmentationObject").as_posix())  # the masks of objects
    return folders, files - {(listing.root / path).as_posix() for path in listing.paths}, listing.layout
