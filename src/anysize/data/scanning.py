"""Asking the index about many files at once, and one error for all that cannot be read."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.images import ImageHeader
from anysize.data.index import ImageCheck, Progress, SizeIndex
from anysize.data.masks.facts import MaskFacts
from anysize.data.options import DataOptions
from anysize.data.problems import FileProblem, describe
from anysize.data.shards.members import ShardMembers
from anysize.data.table import ImageTable
from anysize.errors import UnreadableImagesError

__all__ = ["Scanned", "check_files", "refuse_unreadable", "scan_masks", "scan_table", "several_frames"]


@dataclass(frozen=True, eq=False)
class Scanned:
    """The headers of many files.

    Args:
        table: the images whose header can be read; without labels.
        readable: (N,) mask over all the files: which of them are in the table.
        problems: the other files.
        notes: what a user should know.
    """

    table: ImageTable
    readable: NDArray[np.bool_]
    problems: tuple[FileProblem, ...]
    notes: tuple[str, ...]


def scan_table(
    root: Path,
    paths: Sequence[str],
    options: DataOptions,
    index: SizeIndex | None,
    progress: Progress | None,
) -> Scanned:
    """Read the headers of ``root / path`` for all ``paths``; None for ``index`` is the user's own."""
    with _opened(index) as known:
        found = known.scan(
            _joined(root, paths),
            workers=options.workers,
            max_image_pixels=options.max_image_pixels,
            progress=progress,
        )
        notes = known.notes
    pairs = list(zip(paths, found, strict=True))
    headers = [item for item in found if isinstance(item, ImageHeader)]
    table = ImageTable(
        root=root,
        paths=tuple(path for path, item in pairs if isinstance(item, ImageHeader)),
        labels=None,
        sizes=np.array([(item.height, item.width) for item in headers], np.int64).reshape(-1, 2),
        channels=np.array([item.channels for item in headers], np.int8),
    )
    notes += several_frames(sum(header.frames > 1 for header in headers))
    return Scanned(
        table=table,
        readable=np.array([isinstance(item, ImageHeader) for item in found], np.bool_),
        problems=_problems(pairs),
        notes=notes,
    )


def several_frames(count: int) -> tuple[str, ...]:
    """A note on files of which only a part is used, if there are any."""
    if not count:
        return ()
    return (f"{count} of the files hold several frames or pages: only the first of each is used",)


def check_files(
    root: Path,
    paths: Sequence[str],
    members: ShardMembers | None,
    options: DataOptions,
    index: SizeIndex | None,
    progress: Progress | None,
) -> tuple[list[ImageCheck | FileProblem], tuple[FileProblem, ...], tuple[str, ...]]:
    """Decode ``root / path`` for all ``paths``: what was found of each, the problems, and notes.

    Of images in shards ``members`` are decoded, and ``paths`` are their names.
    """
    with _opened(index) as known:
        found = known.check(
            _joined(root, paths) if members is None else members,
            workers=options.workers,
            max_image_pixels=options.max_image_pixels,
            progress=progress,
        )
        return found, _problems(list(zip(paths, found, strict=True))), known.notes


def scan_masks(
    table: ImageTable,
    masks: Sequence[str],
    options: DataOptions,
    index: SizeIndex | None,
    progress: Progress | None,
) -> tuple[list[MaskFacts | FileProblem], NDArray[np.int64], tuple[str, ...]]:
    """Decode the mask of each image of ``table``, and read how EXIF turns the images.

    Returns:
        What was found of each mask, or what is wrong with it; (N,) the images' orientations, 1 to 8; and notes.
    """
    with _opened(index) as known:
        found = known.masks(
            _joined(table.root, masks),
            workers=options.workers,
            max_image_pixels=options.max_image_pixels,
            progress=progress,
        )
        turned = known.orientations(
            _joined(table.root, table.paths), workers=options.workers, max_image_pixels=options.max_image_pixels
        )
        notes = known.notes
    named = [
        FileProblem(mask, item.reason) if isinstance(item, FileProblem) else item
        for mask, item in zip(masks, found, strict=True)
    ]
    # An image that was there a moment ago and is not now: its decoding will say so.
    orientations = [1 if isinstance(item, FileProblem) else item for item in turned]
    return named, np.array(orientations, np.int64), notes


def _joined(root: Path, paths: Sequence[str]) -> list[str]:
    # Strings: a million Path objects take ten times the memory and the time.
    return [os.path.join(root, path) for path in paths]  # noqa: PTH118


def _problems(pairs: Sequence[tuple[str, object]]) -> tuple[FileProblem, ...]:
    return tuple(FileProblem(path, item.reason) for path, item in pairs if isinstance(item, FileProblem))


def _opened(index: SizeIndex | None) -> SizeIndex | nullcontext[SizeIndex]:
    """The user's own index, to be closed, or the caller's, which stays open."""
    return SizeIndex() if index is None else nullcontext(index)


def refuse_unreadable(
    problems: Sequence[FileProblem],
    count: int,
    options: DataOptions,
    *,
    what: str = "images",
    num_left: int | None = None,
) -> None:
    """Raise one error for all unreadable files, unless they are to be skipped and others are left.

    Args:
        problems: the files that cannot be read.
        count: how many there are in all.
        options: whether they are to be skipped.
        what: what ``count`` counts.
        num_left: images that are left; None for those that have no problem.
    """
    if not problems:
        return
    none_left = len(problems) == count if num_left is None else num_left == 0
    if options.skip_unreadable and not none_left:
        return
    message = f"{len(problems)} of {count} {what} cannot be read:\n{describe(problems, most=len(problems))}"
    if none_left:
        raise UnreadableImagesError(message, hint="convert them to JPEG or PNG; no image would be left without them")
    raise UnreadableImagesError(
        message,
        hint="--skip-unreadable leaves them out and lists every one; or repair or delete the files",
    )
