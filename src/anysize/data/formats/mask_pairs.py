"""Images and masks in two trees of folders, paired by their names; what several layouts share."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anysize.data.folders import Found, class_folders, walk
from anysize.data.formats import Listing, Split
from anysize.data.masks.coding import MaskCoding
from anysize.data.problems import FileProblem, describe, printable
from anysize.errors import LayoutError

__all__ = ["MaskPart", "Pairs", "counted", "image_stem", "listing_of_pairs", "pair_by_stem", "stem_of", "val_folder"]

_SUFFIXES = ("_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "-mask", "-label", "-gt")
_VAL_NAMES = ("val", "valid", "validation")


@dataclass(frozen=True, slots=True)
class MaskPart:
    """A folder of images and the folder of their masks, relative to the root, and the split that they are."""

    images: str
    masks: str
    split: Split | None


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images with their masks, paths relative to the root; and what is left over, each with the reason."""

    images: tuple[str, ...]
    masks: tuple[str, ...]
    ignored: tuple[FileProblem, ...]
    num_without_mask: int
    num_without_image: int


def stem_of(name: str) -> str:
    """The path without its extension, its accents composed (Unicode NFC): macOS writes them apart in names of files.

    >>> stem_of("a/b.c.png")
    'a/b.c'
    """
    stem = os.path.splitext(name)[0]  # noqa: PTH122 - a million Paths are slow
    return stem if stem.isascii() else unicodedata.normalize("NFC", stem)


def val_folder(folder: Path) -> str | None:
    """The name of the folder for validation in ``folder``, in any case.

    Raises:
        LayoutError: there are several.
    """
    present = [name for name in class_folders(folder) if name.lower() in _VAL_NAMES]
    if len(present) > 1:
        raise LayoutError(
            f"{folder} has several folders for validation: {', '.join(present)}",
            hint=f"keep one of them; rename {present[1]} to test if it is held out",
        )
    return present[0] if present else None


def pair_by_stem(root: Path, part: MaskPart, mask_stem: Callable[[str], str] | None = None) -> Pairs:
    """Pair the images and masks of a part whose paths within their folders are the same but for the extension.

    A mask may be called as its image with _mask, _label, _gt or _segmentation behind. What is left over is reported.

    Args:
        root: folder that all paths are relative to.
        part: where to look, to the bottom.
        mask_stem: from a mask's path without extension to its image's; None for the rule above.

    Raises:
        LayoutError: two images or two masks of one name, or no pair at all.
    """
    images, masks = walk(root / part.images), walk(root / part.masks)
    by_stem = _by_stem(root / part.images, images.images, stem_of)
    found = _by_stem(root / part.masks, masks.images, lambda name: image_stem(stem_of(name), by_stem, mask_stem))
    paired = [stem for stem in by_stem if stem in found]
    if not paired:
        raise LayoutError(
            f"no image in {root / part.images} ({_first(images)}) has a mask of its name in {root / part.masks} "
            f"({_first(masks)})",
            hint="call each mask as its image: images/a.jpg and masks/a.png (or a_mask.png)",
        )
    lone = [FileProblem(f"{part.images}/{by_stem[s]}", f"no mask in {part.masks}") for s in by_stem if s not in found]
    spare = [FileProblem(f"{part.masks}/{found[s]}", f"no image in {part.images}") for s in found if s not in by_stem]
    others = [
        FileProblem(f"{folder}/{item.path}", item.reason)
        for folder, found_there in ((part.images, images), (part.masks, masks))
        for item in found_there.ignored
    ]
    return Pairs(
        images=tuple(f"{part.images}/{by_stem[stem]}" for stem in paired),
        masks=tuple(f"{part.masks}/{found[stem]}" for stem in paired),
        ignored=(*lone, *spare, *others),
        num_without_mask=len(lone),
        num_without_image=len(spare),
    )


def listing_of_pairs(
    root: Path,
    layout: str,
    parts: Sequence[tuple[MaskPart, Pairs]],
    *,
    notes: Sequence[str] = (),
    ignored: Sequence[FileProblem] = (),
    classes: tuple[str, ...] = (),
    palette: tuple[tuple[int, int, int], ...] | None = None,
    coding: MaskCoding | None = None,
    coding_notes: Sequence[str] = (),
) -> Listing:
    """The listing of parts that are paired, with a note on what has no counterpart."""
    lone = sum(pairs.num_without_mask for _, pairs in parts)
    spare = sum(pairs.num_without_image for _, pairs in parts)
    left = counted(lone, "image", "has no mask", "have no mask") + counted(
        spare, "mask", "has no image", "have no image"
    )
    return Listing(
        layout=layout,
        root=root,
        paths=tuple(path for _, pairs in parts for path in pairs.images),
        labels=None,
        classes=classes,
        splits=tuple(part.split for part, pairs in parts for _ in pairs.images),
        ignored=(*ignored, *(item for _, pairs in parts for item in pairs.ignored)),
        notes=(*notes, *([f"{' and '.join(left)}: left out, and listed"] if left else [])),
        masks=tuple(path for _, pairs in parts for path in pairs.masks),
        palette=palette,
        coding=coding,
        coding_notes=tuple(coding_notes),
    )


def counted(count: int, noun: str, one: str, several: str) -> list[str]:
    """One clause, or none where there is nothing to count.

    >>> counted(2, "image", "has no mask", "have no mask")
    ['2 images have no mask']
    """
    return [f"{count} {noun} {one}" if count == 1 else f"{count} {noun}s {several}"] if count else []


def image_stem(stem: str, images: dict[str, str], mask_stem: Callable[[str], str] | None = None) -> str:
    """The stem of a mask's image: the mask's own, or without _mask or _label behind if that is an image's.

    Args:
        stem: of the mask.
        images: by their stems.
        mask_stem: as of `pair_by_stem`.
    """
    if mask_stem is not None:
        return mask_stem(stem)
    if stem not in images:
        for suffix in _SUFFIXES:
            if stem.endswith(suffix) and stem.removesuffix(suffix) in images:
                return stem.removesuffix(suffix)
    return stem


def _by_stem(folder: Path, names: Sequence[str], stem: Callable[[str], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    double: list[FileProblem] = []
    for name in names:
        key = stem(name)
        if key in found:
            double.append(FileProblem(name, f"{printable(found[key])} is there, too"))
        found.setdefault(key, name)
    if double:
        raise LayoutError(
            f"{folder} has several files for one image:\n{describe(double)}",
            hint="keep one of each; files are paired by their names without extension",
        )
    return found


def _first(found: Found) -> str:
    return f"{len(found.images)} images, such as {printable(found.images[0])}" if found.images else "no images"
