"""Images that are named one by one or by their folders, to predict: no labels, no layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anysize.data.folders import walk
from anysize.data.index import Progress, SizeIndex
from anysize.data.options import DataOptions
from anysize.data.problems import FileProblem, describe, printable
from anysize.data.scanning import refuse_unreadable, scan_table
from anysize.data.table import ImageTable
from anysize.errors import DataError

__all__ = ["ImageList", "list_images"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageList:
    """Images that were named one by one or by their folders; without labels.

    Args:
        table: the images; paths are as they were given, relative to the working folder or absolute.
        problems: unreadable files that were left out, as `DataOptions.skip_unreadable` asks.
        ignored: files in the folders that are no images.
        notes: what a user should know.
    """

    table: ImageTable
    problems: tuple[FileProblem, ...]
    ignored: tuple[FileProblem, ...]
    notes: tuple[str, ...]


def list_images(
    paths: Sequence[Path],
    options: DataOptions | None = None,
    *,
    index: SizeIndex | None = None,
    progress: Progress | None = None,
    raise_unreadable: bool = True,
) -> ImageList:
    """The images that are named by files (of any extension) and folders (searched to the bottom), headers
    read.

    Args:
        paths: files and folders; an image that is named twice counts once.
        options: see `DataOptions`; None for the defaults.
        index: known headers; None for the user's own, in the cache folder.
        progress: told (files done, files in all).
        raise_unreadable: False leaves unreadable files in ``problems``.

    Raises:
        DataError: a path that does not exist, or no image at all.
        UnreadableImagesError: files that cannot be read, all in one, without ``skip_unreadable``.
    """
    options = DataOptions() if options is None else options
    missing = [FileProblem(str(path), "no such file or folder") for path in paths if not path.exists()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} paths do not exist:\n{describe(missing)}",
            hint="check their spelling, and the folder that the command is run in",
        )
    names: list[str] = []
    ignored: list[FileProblem] = []
    for path in paths:
        if path.is_dir():
            found = walk(path)
            names += [(path / name).as_posix() for name in found.images]
            ignored += [FileProblem((path / item.path).as_posix(), item.reason) for item in found.ignored]
        else:
            names.append(path.as_posix())
    num_named = len(names)
    names = list(dict.fromkeys(names))
    repeated = num_named - len(names)
    notes = (f"{repeated} images were named more than once; each is taken once",) if repeated else ()
    if not names:
        given = ", ".join(printable(str(path)) for path in paths) or "nothing"
        raise DataError(f"no image was found in: {given}", hint="give image files, or folders that hold some")
    scanned = scan_table(Path(), names, options, index, progress)
    if raise_unreadable or len(scanned.problems) == len(names):
        refuse_unreadable(scanned.problems, len(names), options)
    return ImageList(
        table=scanned.table, problems=scanned.problems, ignored=tuple(ignored), notes=(*notes, *scanned.notes)
    )
