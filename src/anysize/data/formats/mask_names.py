"""Folders that are named like masks or hold masks: so that no set of masks is taken for class folders in silence."""

import re
from pathlib import Path

from anysize.data.folders import class_folders, walk
from anysize.data.formats.mask_pairs import image_stem, stem_of
from anysize.data.problems import printable
from anysize.errors import LayoutError

__all__ = ["IMAGE_NAMES", "MASK_NAMES", "are_paired", "folder_named", "refuse_masks_as_classes"]

IMAGE_NAMES = ("images", "image", "imgs", "img")
"""How a folder of images may be called, in any case."""
MASK_NAMES = (
    *("masks", "mask", "labels", "label", "annotations", "annotation"),
    *("gt", "gts", "groundtruth", "ground_truth", "ground-truth"),
)
"""How a folder of masks may be called, in any case."""

_WORD = re.compile(r"(?:^|[^a-z])(?:masks?|ground[ _-]?truths?|labels?|annotations?)(?:$|[^a-z])")
# These may stand in the name of a car, too: only behind the name of the images.
_BEHIND = re.compile(r"[ _-]?(?:gts?|annot)$")
_SHARE = 0.9
_MOST_ALIKE = 2


def folder_named(folder: Path, names: tuple[str, ...]) -> list[str]:
    """The folders in ``folder`` with one of these names, in any case; in the order of the names."""
    found = [name for name in class_folders(folder) if name.lower() in names]
    return sorted(found, key=lambda name: names.index(name.lower()))


def are_paired(images: Path, masks: Path) -> bool:
    """Whether nine in ten of the masks are called as an image is, perhaps with _mask or such behind; of the images,
    where these are fewer."""
    by_stem = {stem_of(name): name for name in walk(images).images}
    stems = [image_stem(stem_of(name), by_stem) for name in walk(masks).images]
    alike = sum(stem in by_stem for stem in stems)
    return alike > 0 and alike >= _SHARE * min(len(stems), len(by_stem))


def refuse_masks_as_classes(folder: Path) -> None:
    """Raise an error if one of the class folders in ``folder`` seems to hold the masks of another's images.

    Raises:
        LayoutError: one is named like masks, and its files like those of another folder.
    """
    folders = class_folders(folder)
    for masks in folders:
        if not _like_masks(masks, folders):
            continue
        others = [name for name in folders if not _like_masks(name, folders)]
        alike = [name for name in others if are_paired(folder / name, folder / masks)]
        if 1 <= len(alike) <= _MOST_ALIKE:  # in more of them the files are just numbered
            images, shown = printable(alike[0]), printable(masks)
            raise LayoutError(
                f"{folder} has a folder {shown} whose files are called as those of {images}: these seem to be label "
                "masks, and would be taken for the images of a class",
                hint=f"rename {images} to images and {shown} to masks, which are read as images with label masks (of "
                f"parts: images/train and masks/train); if they are the images of a class, rename {shown}",
            )


def _like_masks(name: str, folders: list[str]) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()  # trainMasks, too: a capital begins a word
    if name.lower() in MASK_NAMES or _WORD.search(words) is not None:
        return True
    behind = _BEHIND.search(words)
    return behind is not None and words[: behind.start()] in {other.lower() for other in folders}
