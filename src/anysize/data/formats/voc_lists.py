"""The lists of a VOC folder: which names are trained and validated on, and which files they mean."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anysize.data.folders import is_image_name, is_litter
from anysize.data.formats.mask_pairs import stem_of
from anysize.data.problems import FileProblem, describe, printable
from anysize.errors import LayoutError

__all__ = ["VocFiles", "VocPair", "image_of", "pairs_of", "read_lists", "refuse", "voc_files"]


@dataclass(frozen=True, slots=True)
class VocPair:
    """An image and its mask, paths relative to the root."""

    image: str
    mask: str


@dataclass(frozen=True, slots=True)
class VocFiles:
    """The files of one folder, by their names without extension; of several the first, and the others in ``double``."""

    folder: str
    files: dict[str, str]
    double: dict[str, str]
    others: tuple[FileProblem, ...]

    def path(self, stem: str) -> str | None:
        """The file of this name, relative to the root."""
        return f"{self.folder}/{self.files[stem]}" if stem in self.files else None


def voc_files(root: Path, folder: str) -> VocFiles:
    """The images in ``root / folder``; empty where there is no such folder."""
    files: dict[str, str] = {}
    double: dict[str, str] = {}
    others = []
    entries = sorted((root / folder).iterdir()) if (root / folder).is_dir() else []
    for entry in entries:
        if is_litter(entry.name):
            continue
        if not is_image_name(entry.name) or entry.is_dir():
            others.append(FileProblem(f"{folder}/{entry.name}", "not an image"))
        elif stem_of(entry.name) in files:
            double[stem_of(entry.name)] = entry.name
        else:
            files[stem_of(entry.name)] = entry.name
    return VocFiles(folder, files, double, tuple(others))


def read_lists(folder: Path) -> dict[str, list[str]]:
    """The lists in ``folder``: name without .txt -> its lines, stripped, empty ones left out.

    Raises:
        LayoutError: a list that is not UTF-8 text.
    """
    lists = {}
    for file in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
        if is_litter(file.name):
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise LayoutError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
        lists[file.stem] = [line.strip() for line in lines if line.strip()]
    return lists


def pairs_of(
    root: Path, name: str, lines: Sequence[str], images: VocFiles, masks: Sequence[VocFiles]
) -> tuple[list[VocPair], list[FileProblem]]:
    """The pairs that a list names, and what is wrong with it.

    A line is a name without extension (an image's extension behind it is passed over), or an image and a mask, as paths
    below the root: the form of SBD's trainaug lists.

    Args:
        root: the VOC folder.
        name: of the list, without .txt.
        lines: of the list.
        images: the files in JPEGImages.
        masks: folders of masks; the first that has a mask of the name is asked.
    """
    problems = [
        FileProblem(f"{name}.txt", f"{printable(line)} is named {count} times")
        for line, count in Counter(lines).items()
        if count > 1
    ]
    pairs = []
    for line in dict.fromkeys(lines):
        both = _two_paths(root, line)
        if both is not None:
            pairs.append(both)
            continue
        stem = _stem(line, images)
        image = images.path(stem)
        mask = next((path for folder in masks if (path := folder.path(stem)) is not None), None)
        for folder in (images, *masks):
            if stem in folder.double:
                what = (
                    f"{printable(folder.files[stem])} and {printable(folder.double[stem])} are both in {folder.folder}"
                )
                problems.append(FileProblem(f"{name}.txt", f"{printable(line)}: {what}"))
        if image is None:
            problems.append(FileProblem(f"{name}.txt", f"{printable(line)}: no such image in {images.folder}"))
        if mask is None:
            where = " or ".join(folder.folder for folder in masks)
            problems.append(FileProblem(f"{name}.txt", f"{printable(line)}: no such mask in {where}"))
        if image is not None and mask is not None:
            pairs.append(VocPair(image, mask))
    return pairs, problems


def image_of(root: Path, line: str, images: VocFiles) -> str:
    """The image that a line of a list means, relative to the root; its name where there is no such image."""
    both = _two_paths(root, line)
    if both is not None:
        return both.image
    stem = _stem(line, images)
    return images.path(stem) or stem


def _stem(line: str, images: VocFiles) -> str:
    plain = unicodedata.normalize("NFC", line)
    return plain if plain in images.files or not is_image_name(line) else stem_of(line)


def _two_paths(root: Path, line: str) -> VocPair | None:
    parts = line.split()
    if len(parts) != 2 or not all("/" in part for part in parts):
        return None
    image, mask = (PurePosixPath(part.lstrip("/")).as_posix() for part in parts)
    return VocPair(image, mask) if (root / image).is_file() and (root / mask).is_file() else None


def refuse(root: Path, problems: Sequence[FileProblem]) -> None:
    """Raise one error for everything that is wrong with the lists.

    Raises:
        LayoutError: there is something.
    """
    if not problems:
        return
    missing = sum("no such" in problem.reason for problem in problems)
    hint = "name every image once, in one list"
    if missing:
        hint = "delete the names whose files are missing from the lists, or bring the files; " + hint
    counted = f"{len(problems)} fault{'' if len(problems) == 1 else 's'}"
    raise LayoutError(
        f"the lists in {root / 'ImageSets' / 'Segmentation'} have {counted}:\n{describe(problems)}",
        hint=hint,
    )
