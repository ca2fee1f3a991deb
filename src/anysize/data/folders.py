"""Walking folders for images: every file is either taken, or reported with the reason, or known litter."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from anysize.data.images import EXTENSIONS
from anysize.data.problems import FileProblem

__all__ = ["Found", "class_folders", "has_image", "is_image_name", "is_litter", "walk"]

_LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"})
_PHOTO_EXTENSIONS = frozenset({".heic", ".heif", ".avif", ".jp2", ".jxl", ".raw", ".dng", ".nef", ".cr2", ".svg"})


@dataclass
class Found:
    """What a walk has come upon: paths relative to its root, posix style, sorted."""

    images: list[str] = field(default_factory=list)
    ignored: list[FileProblem] = field(default_factory=list)


def is_litter(name: str) -> bool:
    """Whether the name is hidden (a leading dot) or what operating systems strew about: passed over."""
    return name.startswith(".") or name.lower() in _LITTER


def is_image_name(name: str) -> bool:
    """Whether the name ends as an image's does, in any case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a million Paths are slow


def walk(root: Path, *, recursive: bool = True) -> Found:
    """The images in ``root`` and below, sorted; links to files and folders are followed, but never in a
    circle.

    Raises:
        OSError: a folder cannot be listed.
    """
    found = Found()
    for name, reason in _walk(root, "", (), recursive):
        if reason is None:
            found.images.append(name)
        else:
            found.ignored.append(FileProblem(name, reason))
    found.images.sort()
    found.ignored.sort(key=lambda problem: problem.path)
    return found


def has_image(folder: Path) -> bool:
    """Whether an image lies in ``folder`` or below."""
    return any(reason is None for _, reason in _walk(folder, "", (), True))


def class_folders(root: Path) -> list[str]:
    """The names of the folders in ``root``, sorted, without hidden ones and litter."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_litter(entry.name))


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], recursive: bool
) -> Iterator[tuple[str, str | None]]:
    """(path, None) for each image, (path, reason) for each file that is not taken."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        yield prefix.rstrip("/"), "a link to a folder that it lies in itself"
        return
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        name = prefix + entry.name
        if is_litter(entry.name):
            continue
        if entry.is_dir():
            if recursive:
                yield from _walk(Path(entry.path), name + "/", (*above, here), recursive)
            else:
                yield name, "a folder, in a layout that takes only the images beside it"
        elif is_image_name(entry.name) and (entry.is_file() or entry.is_symlink()):
            # A link that points nowhere is taken, so that it is reported as an image that cannot be read.
            yield name, None
        else:
            yield name, _why_not(entry)


def _why_not(entry: "os.DirEntry[str]") -> str:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
    if not entry.is_file() and not entry.is_symlink():
        return "not a regular file"
    if suffix in _PHOTO_EXTENSIONS:
        return f"{suffix} files are not read; convert it to JPEG or PNG"
    return f"{suffix} is not an image's extension" if suffix else "no extension, so not taken for an image"
