"""The images to predict, found and checked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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

# Lists, annotations and tables, as layouts with masks have them beside the folders of images.
_PAPERS = frozenset([".txt", ".xml", ".json", ".csv", ".tsv", ".mat", ".md", ".yaml", ".yml"])


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where a folder of images with label masks has its masks; paths begin as the folder was given."""

    layout: str
    image_folders: set[str]
    """Folders with an image in them or below."""
    mask_folders: set[str]
    """Folders that hold masks and no image."""
    masks: set[str]
    """The masks themselves, those beside images too."""


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
    places = {root: place for root in config.images if root.is_dir() and (place := _places(root)) is not None}
    masks = _masks_in(places, config.images, [*found.table.paths, *(item.path for item in found.problems)], console)
    papers = _papers_in(places, found.ignored, console)
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
        ignored=tuple(problem for problem in found.ignored if problem.path not in papers),
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
    left_out += [*masks.values(), *papers.values()]
    if not len(table):
        raise DataError("no image is left to predict", hint="leave out --min-side and --skip-unreadable to see why")
    return table, tuple(left_out)


def _masks_in(
    places: dict[Path, _Places], given: Sequence[Path], every: Sequence[str], console: Console
) -> dict[str, FileProblem]:
    """The files among ``every`` that are label masks of a folder given, and a note."""
    masks: dict[str, FileProblem] = {}
    named = {path.as_posix() for path in given}
    for root, place in places.items():
        above = {root.as_posix(), *_parents(root.as_posix())}
        inside = [
            path
            for path in every
            if (path in place.masks or not place.mask_folders.isdisjoint(_parents(path)))
            and named.isdisjoint({path, *_parents(path)} - above)  # what is named itself is answered
        ]
        new = [path for path in dict.fromkeys(inside) if path not in masks]
        masks |= {path: FileProblem(path, f"a label mask ({place.layout})") for path in new}
        if new:
            where = ", ".join(printable(folder) for folder in sorted({_parents(path)[0] for path in new}))
            console.say(
                f"note: {root} holds images with label masks ({place.layout}): the masks, {len(new)} files in {where}, "
                "are not predicted"
            )
    return masks


def _papers_in(places: dict[Path, _Places], ignored: Sequence[FileProblem], console: Console) -> dict[str, FileProblem]:
    """The lists, annotations and tables of the layouts, which nobody takes for images, and a note with their number."""
    papers: dict[str, FileProblem] = {}
    for root, place in places.items():
        new = {
            problem.path: problem
            for problem in ignored
            if problem.path not in papers and _belongs(PurePosixPath(problem.path), root, place)
        }
        papers |= new
        kinds = Counter(PurePosixPath(path).suffix.lower() for path in new)
        if new:
            shown = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
            console.say(
                f"note: {root} holds lists, annotations or the like beside its images ({place.layout}): {shown} "
                f"file{'' if len(new) == 1 else 's'}, not predicted"
            )
    return papers


def _belongs(path: PurePosixPath, root: Path, place: _Places) -> bool:
    """Whether a file that is no image lies below ``root``, in a folder that no image is in."""
    folders = {folder.as_posix() for folder in path.parents}
    if path.suffix.lower() not in _PAPERS or root.as_posix() not in folders:
        return False
    # Images lie below the root, too: only what lies deeper is beside them.
    return path.parent.as_posix() == root.as_posix() or path.parent.as_posix() not in place.image_folders


def _parents(path: str) -> list[str]:
    return [folder.as_posix() for folder in PurePosixPath(path).parents]


def _places(root: Path) -> _Places | None:
    """Where ``root`` has its masks, if it is data with masks."""
    try:
        listing = read_listing(root)
    except LayoutError:  # of no layout: there is nothing that says which files are masks
        return None
    if listing.masks is None:
        return None
    masks = {(listing.root / mask).as_posix() for mask in listing.masks}
    images = {(listing.root / path).as_posix() for path in listing.paths}
    image_folders = {folder for path in images for folder in _parents(path)}
    mask_folders = {_parents(mask)[0] for mask in masks} - image_folders
    if listing.layout == "voc":
        mask_folders.add((listing.root / "SegmentationObject").as_posix())  # the masks of objects
    return _Places(layout=listing.layout, image_folders=image_folders, mask_folders=mask_folders, masks=masks - images)
