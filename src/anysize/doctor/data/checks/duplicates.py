"""The same image twice: on both sides of the split, with different labels, or within one part."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anysize.data.problems import printable
from anysize.doctor.data.checks import DataCheck, number, share
from anysize.doctor.data.look import THUMBNAIL_SIDE
from anysize.doctor.data.survey import Copies, Seen, Survey
from anysize.doctor.finding import Finding, Severity

__all__ = ["CHECK", "MOST_DIFFERENT", "MOST_LEAKED", "nearest"]

MOST_LEAKED = 0.01
"""Above this share of the validation images that are in training too, it is an error."""


MOST_DIFFERENT = 0.08
"""Near-copies differ by this much at most: the root mean square difference of two grey thumbnails, in standard
deviations of one. Saved again as JPEG, or at half the size, images of photo collections differ by below 0.05; different
ones by 0.25 or more."""
_LEAST_STD = 8.0  # grey levels; flat images are all alike
_ROWS = 512


def _run(survey: Survey) -> Iterator[Finding]:
    conflicting = [group for group in survey.copies if group.same_labels is False]
    across = [group for group in survey.copies if len(set(group.parts)) > 1]
    within = [group for group in survey.copies if len(set(group.parts)) == 1]
    if conflicting:
        kind = "masks" if survey.task == "segment" else "classes"
        yield Finding(
            "duplicates",
            "error",
            f"{number(len(conflicting), 'image')} of the same content with different {kind}",
            "one label for one image",
            "keep the right one of each and remove the others",
            _paths(conflicting),
        )
    if across:
        val = survey.part("val")
        total = 0 if val is None else len(val.table)
        leaked = sum(group.parts.count("val") for group in across)
        severity: Severity = "error" if leaked > MOST_LEAKED * total else "warning"
        yield Finding(
            "duplicates",
            severity,
            f"{number(leaked, 'validation image')} ({share(leaked, total)}) with the same content in training: the "
            "validation result would look better than it is",
            "no image on both sides of the split",
            _remove(survey, across),
            _paths(across),
        )
    yield from _near_copies(survey, across)
    if within:
        spare = sum(len(group.paths) - 1 for group in within)
        yield Finding(
            "duplicates",
            "note",
            f"{number(spare, 'image')} whose content is in the same part already ({_how(within)}): counted double",
            "",
            "remove them if that is not meant",
            _paths(within),
        )


def _near_copies(survey: Survey, known: list[Copies]) -> Iterator[Finding]:
    told = {path for group in known for path in group.paths}
    train = [item for item in survey.seen if item.part == "train"]
    val = [item for item in survey.seen if item.part == "val" and item.path not in told]
    pairs = nearest(_thumbnails(val), _thumbnails(train))
    near = [(val[row], train[column]) for row, column in pairs]
    if near:
        yield Finding(
            "near-duplicates",
            "warning",
            f"{number(len(near), 'validation image')} nearly the same as one in training (saved again, resized, or the "
            f"next frame of a film): {near[0][0].path} and {near[0][1].path}",
            "images in validation that training has not seen",
            "look at them; keep what comes from one scene on one side of the split",
            tuple(path for pair in near for path in (pair[0].path, pair[1].path)),
        )


def _thumbnails(items: list[Seen]) -> NDArray[np.float32]:
    joined = b"".join(item.look.thumbnail for item in items)
    return np.frombuffer(joined, np.uint8).reshape(len(items), THUMBNAIL_SIDE**2).astype(np.float32)


def nearest(these: NDArray[np.float32], others: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Rows of ``these`` (N, P) with their nearest row of ``others`` (M, P), where both are near-copies."""
    if not len(these) or not len(others):
        return []
    found = []
    squares = (others**2).sum(axis=1)
    for first in range(0, len(these), _ROWS):
        rows = these[first : first + _ROWS]
        # |a - b|^2 = |a|^2 + |b|^2 - 2 ab, for all pairs at once; the nearest is then compared itself.
        distance = (rows**2).sum(axis=1)[:, None] + squares - 2 * rows @ others.T
        for row, column in enumerate(distance.argmin(axis=1).tolist()):
            std = float(rows[row].std())
            rms = float(np.sqrt(((rows[row] - others[column]) ** 2).mean()))
            if std >= _LEAST_STD and rms <= MOST_DIFFERENT * std:
                found.append((first + row, column))
    return found


def _paths(groups: list[Copies]) -> tuple[str, ...]:
    return tuple(path for group in groups for path in group.paths)


def _how(groups: list[Copies]) -> str:
    same = sum(group.same_file for group in groups)
    if same == len(groups):
        return "byte for byte"
    return "by their decoded pixels" if same == 0 else "byte for byte, or by their decoded pixels"


def _remove(survey: Survey, groups: list[Copies]) -> str:
    """How to remove the first of the copies in validation, with all that names it; the command can be pasted."""
    path = next(path for group in groups for path, part in zip(group.paths, group.parts, strict=True) if part == "val")
    table = next(part.table for part in survey.parts if part.name == "val")
    if table.members is not None:
        return f"leave one of each pair out of its shard; the first: {path}"
    files = [path]
    if table.masks is not None and path in table.paths:
        mask = table.masks[table.paths.index(path)]
        used = sum(part.table.masks.count(mask) for part in survey.parts if part.table.masks is not None)
        files += [mask] if used == 1 else []
    with_line = ""
    if survey.layout == "voc":
        lists = printable(str(survey.root / "ImageSets" / "Segmentation"))
        with_line = (
            f" and its line in {lists}/val.txt" if survey.has_own_split else f" and its line in the lists of {lists}"
        )
    elif survey.layout.startswith("csv"):
        table_of = "the CSV file" if survey.file is None else str(survey.file)
        with_line = f" and its line in {printable(table_of)}"
    command = " ".join(_quoted(_as_operand(str(survey.root / file))) for file in files)
    return f"remove one of each pair{with_line}; the first: rm {command}"


def _as_operand(path: str) -> str:
    """A name that no program takes for an option."""
    return f"./{path}" if path.startswith("-") else path


def _quoted(path: str) -> str:
    """As a POSIX shell takes it; names with line breaks and the like as escapes."""
    if path.isprintable() and all(c.isalnum() or c in "/._-+@" for c in path):
        return path
    if path.isprintable():
        return "'" + path.replace("'", "'\\''") + "'"
    return "$'" + path.encode("unicode_escape").decode().replace("'", "\\'") + "'"


CHECK = DataCheck("duplicates", 36, _run)
