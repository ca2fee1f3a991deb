"""ROOT/train/CLASS/.../IMAGE and ROOT/val/CLASS/.../IMAGE: class folders, already split."""

from pathlib import Path

from anysize.data.folders import class_folders, is_litter
from anysize.data.formats import Listing, Split
from anysize.data.formats.image_folder import ClassFolders, read_class_folders
from anysize.data.formats.mask_names import refuse_masks_as_classes
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT"]

_TRAIN = "train"
_VAL_NAMES = ("val", "valid", "validation")
_HELD_OUT = ("test",)


class _ImageFolderSplit:
    name = "image_folder_split"
    order = 20
    sketch = "ROOT/train/cat/1.jpg, ROOT/val/cat/2.jpg (val may be called valid or validation)"
    has_masks = False

    def matches(self, root: Path) -> bool:
        if not root.is_dir():
            return False
        folders = class_folders(root)
        if _TRAIN not in folders:
            return False
        # Without val it is this layout only if train stands alone: "train" may be a class, beside "car".
        alone = all(name == _TRAIN or name in _HELD_OUT for name in folders) and class_folders(root / _TRAIN)
        return bool(alone) or any(name in folders for name in _VAL_NAMES)

    def read(self, root: Path) -> Listing:
        folders = class_folders(root)
        val = _val_folder(root, folders)
        refuse_masks_as_classes(root)  # train/ and trainannot/, say
        parts: list[tuple[Split | None, ClassFolders]] = [("train" if val else None, _read_part(root, _TRAIN))]
        if val is not None:
            parts.append(("val", _read_part(root, val)))
        classes = tuple(sorted(set(parts[0][1].names)))
        notes = (
            list(_notes_on_val(root, val, classes, parts[-1][1]))
            if val
            else [f"{root} has train/ but no val/: the validation images are drawn from train/"]
        )
        number = {name: label for label, name in enumerate(classes)}
        unused = [name for name in folders if name not in (_TRAIN, val)]
        return Listing(
            layout=self.name,
            root=root,
            paths=tuple(path for _, part in parts for path in part.paths),
            labels=tuple(number[name] for _, part in parts for name in part.names),
            classes=classes,
            splits=tuple(split for split, part in parts for _ in part.paths),
            ignored=(*_beside(root, unused), *(item for _, part in parts for item in part.ignored)),
            notes=tuple(notes),
        )


def _val_folder(root: Path, folders: list[str]) -> str | None:
    present = [name for name in _VAL_NAMES if name in folders]
    if len(present) > 1:
        raise LayoutError(
            f"{root} has several folders for validation: {', '.join(present)}",
            hint=f"keep one of them; rename {present[1]} to test if it is held out",
        )
    return present[0] if present else None


def _read_part(root: Path, name: str) -> ClassFolders:
    if not class_folders(root / name):
        raise LayoutError(
            f"{root / name} has no class folders",
            hint=f"sort its images into a folder for each class: {name}/cat/1.jpg, {name}/dog/2.jpg; or give "
            f"{root / name} itself to use its images without labels",
        )
    return read_class_folders(root, f"{name}/")


def _notes_on_val(root: Path, val: str, classes: tuple[str, ...], part: ClassFolders) -> list[str]:
    """What the classes of the two parts disagree on: an error where it cannot be learnt, else a note."""
    val_classes = set(part.names)
    unknown = sorted(val_classes - set(classes))
    if unknown:
        shown = ", ".join(printable(name) for name in unknown)
        raise LayoutError(
            f"{root / val} has classes that {root / _TRAIN} has not: {shown}",
            hint=f"add such images to train/, or take the class out of {val}/",
        )
    missing = [name for name in classes if name not in val_classes]
    if missing:
        shown = ", ".join(printable(name) for name in missing)
        return [f"{val}/ has no images of: {shown}; how well they are learnt cannot be measured"]
    return []


def _beside(root: Path, folders: list[str]) -> list[FileProblem]:
    """What lies beside train and val."""
    reason = "a folder beside train/ and val/, not used for training"
    files = sorted(entry.name for entry in root.iterdir() if not entry.is_dir() and not is_litter(entry.name))
    return [FileProblem(name, reason) for name in folders] + [
        FileProblem(name, "a file beside train/ and val/") for name in files
    ]


LAYOUT = _ImageFolderSplit()
