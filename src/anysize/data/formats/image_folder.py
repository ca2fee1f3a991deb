"""ROOT/CLASS/.../IMAGE: a folder for each class, and no split."""

from dataclasses import dataclass
from pathlib import Path

from anysize.data.folders import class_folders, has_image, is_litter, walk
from anysize.data.formats import Listing
from anysize.data.formats.csv_rows import columns_of
from anysize.data.formats.mask_names import refuse_masks_as_classes
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT", "ClassFolders", "read_class_folders"]


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """The images of class folders: paths relative to ``root``, and each one's class name."""

    paths: tuple[str, ...]
    names: tuple[str, ...]
    ignored: tuple[FileProblem, ...]


def read_class_folders(root: Path, prefix: str = "") -> ClassFolders:
    """All images below the folders in ``root / prefix``, the first folder's name being the class.

    Raises:
        LayoutError: a class folder without any image, or one that seems to hold label masks.
    """
    folder = root / prefix
    refuse_masks_as_classes(folder)
    paths: list[str] = []
    names: list[str] = []
    empty: list[str] = []
    others: list[FileProblem] = []
    ignored = list(_beside(folder, prefix))
    for name in class_folders(folder):
        found = walk(folder / name)
        if not found.images:
            empty.append(name)
            others += [FileProblem(f"{name}/{item.path}", item.reason) for item in found.ignored]
        paths += [f"{prefix}{name}/{path}" for path in found.images]
        names += [name] * len(found.images)
        ignored += [FileProblem(f"{prefix}{name}/{item.path}", item.reason) for item in found.ignored]
    if empty:
        shown = ", ".join(printable(name) for name in empty)
        them = "it" if len(empty) == 1 else "each"
        if others:
            raise LayoutError(
                f"{folder} has class folders without any image: {shown}; what they hold is not read: {len(others)} "
                f"file{'' if len(others) == 1 else 's'}, the first {others[0]}",
                hint=f"put images into {them} (JPEG, PNG or the like: what the files show, converted), or take the "
                "folders out of the data",
            )
        raise LayoutError(
            f"{folder} has class folders without any image: {shown}",
            hint=f"put images into {them}, or delete the empty folders",
        )
    return ClassFolders(tuple(paths), tuple(names), tuple(ignored))


def _beside(folder: Path, prefix: str) -> list[FileProblem]:
    """The files that lie beside the class folders: in none of them, so of no class."""
    found = walk(folder, recursive=False)
    folders = set(class_folders(folder))
    others = [item for item in found.ignored if item.path not in folders]
    images = [FileProblem(path, "an image outside the class folders") for path in found.images]
    return [FileProblem(prefix + item.path, item.reason) for item in sorted(images + others, key=lambda i: i.path)]


class _ImageFolder:
    name = "image_folder"
    order = 30
    sketch = "ROOT/cat/1.jpg, ROOT/dog/2.jpg (a folder for each class; the split is drawn)"
    has_masks = False

    def matches(self, root: Path) -> bool:
        if not root.is_dir():
            return False
        folders = class_folders(root)
        lonely = len(folders) == 1 and not walk(root, recursive=False).images
        return (len(folders) > 1 or lonely) and any(has_image(root / name) for name in folders)

    def read(self, root: Path) -> Listing:
        found = read_class_folders(root)
        classes = tuple(sorted(set(found.names)))
        if len(classes) < 2:
            raise LayoutError(
                f"{root} has only one class folder ({printable(classes[0])}); classes need two at least",
                hint=f"give {root / classes[0]} itself to use its images without labels, or add a folder for "
                "each other class" + _or_table(root, found.paths[0]),
            )
        number = {name: label for label, name in enumerate(classes)}
        return Listing(
            layout=self.name,
            root=root,
            paths=found.paths,
            labels=tuple(number[name] for name in found.names),
            classes=classes,
            splits=(None,) * len(found.paths),
            ignored=found.ignored,
        )


def _or_table(root: Path, path: str) -> str:
    """How a table beside the images is made one of labels: its columns are called otherwise, or it would be read."""
    tables = sorted(entry for entry in root.iterdir() if entry.suffix.lower() == ".csv" and not is_litter(entry.name))
    columns = [printable(column) for column in columns_of(tables[0])] if len(tables) == 1 else []
    if len(columns) < 2:
        return ""
    return (
        f"; if {printable(tables[0].name)} holds the labels, call the column of files path and that of classes label "
        f"(its columns are {', '.join(columns)}), and write paths like {printable(path)}"
    )


LAYOUT = _ImageFolder()
