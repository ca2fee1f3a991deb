"""Folders that are named like masks or hold masks: so that no set of masks is taken for class folders in silence."""

import re
from pathlib import Path

from anysize.data.folders import class_folders, has_image, walk
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

_WORDS = re.compile(r"(?:^|[^a-z])(?:masks?|gts?|ground[ _-]?truths?|labels?|annotations?)(?:$|[^a-z])|annot$")
_SHARE = 0.9


def folder_named(folder: Path, names: tuple[str, ...]) -> list[str]:
    """The folders in ``folder`` with one of these names, in any case; in the order of the names."""
    found = [name for name in class_folders(folder) if name.lower() in names]
    return sorted(found, key=lambda name: names.index(name.lower()))


def are_paired(images: Path, masks: Path) -> bool:
    """Whether nine in ten masks are called as an image is, perhaps with _mask or _label behind."""
    by_stem = {stem_of(name): name for name in walk(images).images}
    stems = [image_stem(stem_of(name), by_stem) for name in walk(masks).images]
    return bool(stems) and sum(stem in by_stem for stem in stems) >= _SHARE * len(stems)


def refuse_masks_as_classes(folder: Path) -> None:
    """Raise an error if one of the class folders in ``folder`` seems to hold the masks of another's images.

    Raises:
        LayoutError: one is named like masks, and its files like those of another folder.
    """
    folders = class_folders(folder)
    suspects = [name for name in folders if _like_masks(name)]
    for masks in suspects:
        if not has_image(folder / masks):
            continue
        for images in folders:
            if images not in suspects and are_paired(folder / images, folder / masks):
                raise LayoutError(
                    f"{folder} has a folder {printable(masks)} whose files are called as those of {printable(images)}: "
                    "these seem to be masks, and would be taken for images of a class",
                    hint=f"rename {printable(images)} to images and {printable(masks)} to masks, which are read as "
                    f"images with label masks (of a part: images/train and masks/train); if they are pictures of a "
                    f"class, rename {printable(masks)}",
                )


def _like_masks(name: str) -> bool:
    # trainMasks, too: a capital begins a word.
    return _WORDS.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None
