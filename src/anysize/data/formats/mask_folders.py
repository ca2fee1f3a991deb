"""ROOT/images/... and ROOT/masks/...: images and masks of the same names in two folders, split or not."""

from pathlib import Path

from anysize.data.folders import class_folders, has_image, is_litter
from anysize.data.formats import Listing, Split
from anysize.data.formats.mask_names import IMAGE_NAMES, MASK_NAMES, are_paired, folder_named
from anysize.data.formats.mask_pairs import MaskPart, listing_of_pairs, pair_by_stem, val_folder
from anysize.data.masks.rules import NAME_FILES
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT", "image_folder_of", "mask_folder_of"]

_TRAIN = ("train", "training")
_HELD_OUT = ("test", "testing")


class _MaskFolders:
    name = "mask_folders"
    order = 14
    sketch = "ROOT/images/train/1.jpg, ROOT/masks/train/1.png (or train/images, train/masks; or no split)"
    has_masks = True

    def matches(self, root: Path) -> bool:
        if not root.is_dir():
            return False
        if _has_pair(root):
            return True
        train = _train_folder(root)
        return train is not None and _has_pair(root / train)

    def read(self, root: Path) -> Listing:
        parts, unused, notes = _inside(root) if _has_pair(root) else _outside(root)
        pairs = [(part, pair_by_stem(root, part)) for part in parts]
        return listing_of_pairs(root, self.name, pairs, notes=notes, ignored=[*unused, *_files_beside(root)])


def image_folder_of(folder: Path) -> str | None:
    """The name of the folder of images in ``folder``."""
    return next(iter(folder_named(folder, IMAGE_NAMES)), None)


def mask_folder_of(folder: Path) -> str | None:
    """The name of the folder of masks in ``folder``: one that holds images, not tables of boxes.

    Raises:
        LayoutError: there are several.
    """
    present = [name for name in folder_named(folder, MASK_NAMES) if has_image(folder / name)]
    if len(present) > 1:
        raise LayoutError(
            f"{folder} has several folders that may hold the masks: {', '.join(present)}",
            hint="keep one of them beside the images, or name the pairs in a CSV file with the columns path,mask",
        )
    return present[0] if present else None


def _has_pair(folder: Path) -> bool:
    """Whether there are images and masks; among other folders of images they must be called alike, too."""
    images = image_folder_of(folder)
    masks = [name for name in folder_named(folder, MASK_NAMES) if has_image(folder / name)]
    if images is None or not masks:
        return False
    return not _others(folder) or any(are_paired(folder / images, folder / name) for name in masks)


def _others(folder: Path) -> list[str]:
    """The folders with images that are named like nothing of this layout."""
    known = (*IMAGE_NAMES, *MASK_NAMES, *_HELD_OUT)
    return [name for name in class_folders(folder) if name.lower() not in known and has_image(folder / name)]


def _beside_pair(root: Path, inside: str, images: str, masks: str) -> tuple[list[FileProblem], list[str]]:
    """The folders beside images and masks, and a note if there are images in them."""
    unused = [
        FileProblem(f"{inside}{name}", f"a folder beside {images}/ and {masks}/, not used")
        for name in class_folders(root / inside)
        if name not in (images, masks)
    ]
    others = [printable(inside + name) for name in _others(root / inside)]
    named = f"{inside}{images} and {inside}{masks} are images with label masks; not used: {', '.join(others)}"
    return unused, [named] * bool(others)


def _train_folder(folder: Path) -> str | None:
    return next(iter(folder_named(folder, _TRAIN)), None)


def _inside(root: Path) -> tuple[list[MaskPart], list[FileProblem], list[str]]:
    """images/ and masks/, perhaps with train/ and val/ in each."""
    images, masks = str(image_folder_of(root)), str(mask_folder_of(root))
    beside, notes = _beside_pair(root, "", images, masks)
    train, val = _train_folder(root / images), val_folder(root / images)
    if train is None:
        if val is not None:
            raise LayoutError(
                f"{root / images} has {val}/ but no train/", hint=f"put the images to train on into {images}/train/"
            )
        return [MaskPart(images, masks, None)], beside, notes
    names: list[tuple[str, Split | None]] = [(train, "train"), (val, "val")] if val else [(train, None)]
    mask_names = {name: _same_folder(root / masks, name) for name, _ in names}
    missing = [f"{masks}/{name}" for name, found in mask_names.items() if found is None]
    if missing:
        raise LayoutError(
            f"{root} has {images}/{train} but no {' and no '.join(missing)}",
            hint=f"sort the masks as the images are: {images}/{train}/1.jpg and {masks}/{train}/1.png",
        )
    unused = [
        FileProblem(f"{images}/{name}", f"a folder beside {train}/, not used for training")
        for name in class_folders(root / images)
        if name not in (train, val)
    ]
    if val is None:
        notes.append(f"{root / images} has {train}/ but no val/: the validation images are drawn from {train}/")
    parts = [MaskPart(f"{images}/{name}", f"{masks}/{mask_names[name]}", split) for name, split in names]
    return parts, [*unused, *beside], notes


def _same_folder(folder: Path, name: str) -> str | None:
    """The folder of this name; or else of this name in another case."""
    return name if (folder / name).is_dir() else next(iter(folder_named(folder, (name.lower(),))), None)


def _outside(root: Path) -> tuple[list[MaskPart], list[FileProblem], list[str]]:
    """train/images/ and train/masks/, and perhaps val/ likewise."""
    train, val = str(_train_folder(root)), val_folder(root)
    names: list[tuple[str, Split | None]] = [(train, "train"), (val, "val")] if val else [(train, None)]
    parts: list[MaskPart] = []
    within: list[FileProblem] = []
    notes: list[str] = []
    for name, split in names:
        images, masks = image_folder_of(root / name), mask_folder_of(root / name)
        if images is None or masks is None:
            raise LayoutError(
                f"{root / name} has no folder of {'images' if images is None else 'masks'}",
                hint=f"as in {train}/: {name}/{image_folder_of(root / train)}/1.jpg and "
                f"{name}/{mask_folder_of(root / train)}/1.png",
            )
        parts.append(MaskPart(f"{name}/{images}", f"{name}/{masks}", split))
        beside, more = _beside_pair(root, f"{name}/", images, masks)
        within += beside
        notes += more
    unused = [
        FileProblem(name, f"a folder beside {train}/, not used for training")
        for name in class_folders(root)
        if name not in (train, val)
    ]
    if val is None:
        notes.append(f"{root} has {train}/ but no val/: the validation images are drawn from {train}/")
    return parts, [*unused, *within], notes


def _files_beside(root: Path) -> list[FileProblem]:
    names = sorted(entry.name for entry in root.iterdir() if not entry.is_dir() and not is_litter(entry.name))
    return [FileProblem(name, "a file beside the images and masks") for name in names if name not in NAME_FILES]


LAYOUT = _MaskFolders()
