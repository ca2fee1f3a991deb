"""WebDataset shards: tar files of samples, each an image and its label; read where they lie, never extracted."""

import re
from collections.abc import Sequence
from pathlib import Path

from anysize.data.folders import class_folders, has_image, is_litter, walk
from anysize.data.formats import Listing, Split
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["CLASSES_FILE", "LAYOUT"]

_SUFFIX = ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
_UNPACK = {"gz": "gunzip", "tgz": "gunzip", "bz2": "bunzip2", "tbz2": "bunzip2", "xz": "unxz", "txz": "unxz"}
_TRAIN, _VAL_NAMES, _HELD_OUT = "train", ("val", "valid", "validation"), ("test",)

CLASSES_FILE = "classes.txt"
"""Beside the shards: one class name a line; a label that is an integer k means line k, counted from 0."""


class _WebDataset:
    name = "webdataset"
    order = 15
    sketch = "FILE.tar, or ROOT with such shards, perhaps in train/ and val/: 1.jpg and 1.cls in each"
    has_masks = False

    def matches(self, root: Path) -> bool:
        if not root.is_dir():
            return _is_shard(root.name)
        if _shards(root):
            # An archive often lies beside the images that came out of it; those are meant then.
            return not walk(root, recursive=False).images and not any(
                has_image(root / name) for name in class_folders(root)
            )
        parts = [name for name in (_TRAIN, *_VAL_NAMES) if (root / name).is_dir()]
        return any(_shards(root / name) and not has_image(root / name) for name in parts)

    def read(self, root: Path) -> Listing:
        if not root.is_dir():
            names, splits, ignored, notes = _alone(root)
        elif _shards(root):
            names, splits, ignored, notes = _by_name(root)
        else:
            names, splits, ignored, notes = _by_folder(root)
        folder = root if root.is_dir() else root.parent
        _refuse_compressed(folder, names)
        return Listing(
            layout=self.name,
            root=folder,
            paths=tuple(names),
            labels=None,
            classes=(),
            splits=tuple(splits),
            ignored=tuple(ignored),
            notes=tuple(notes),
            in_shards=True,
            alone=not root.is_dir(),
        )


_Parts = tuple[list[str], list[Split | None], list[FileProblem], list[str]]


def _alone(file: Path) -> _Parts:
    """One shard that was given itself; what lies beside it is none of our business."""
    return [file.name], [None], [], []


def _by_name(root: Path) -> _Parts:
    """The shards in one folder; their names may say train, val or test."""
    names = _shards(root)
    words = {name: set(re.split(r"[^a-z]+", name.lower())) for name in names}
    train = [name for name in names if _TRAIN in words[name]]
    val = [name for name in names if words[name] & set(_VAL_NAMES)]
    ignored = _beside(root, names, CLASSES_FILE)
    held_out = [name for name in names if words[name] & set(_HELD_OUT) and name not in train and name not in val]
    if not (train or val or held_out):
        return names, [None] * len(names), ignored, []
    if len(held_out) == len(names):  # whoever gives nothing else means them: to evaluate on, say
        note = f"the names of all shards in {root} say test, and they are used all the same"
        return names, [None] * len(names), ignored, [note]
    unclear = sorted(set(train) & set(val) | set(names) - {*train, *val, *held_out})
    if unclear or not train:
        said = "val" if val else "train" if train else "test"
        shown = ", ".join(printable(name) for name in unclear) or "none is of train"
        raise LayoutError(
            f"some names of the shards in {root} say {said}, and it is unclear what the others are: {shown}",
            hint="put train or val into the name of every shard, or give the folder of those that are meant",
        )
    ignored += [FileProblem(name, "a shard of test, not used for training") for name in held_out]
    if not val:
        note = f"the shards in {root} are named train and none val: the validation images are drawn from train"
        return train, [None] * len(train), ignored, [note]
    splits: list[Split | None] = ["val" if name in val else "train" for name in [*train, *val]]
    return [*train, *val], splits, ignored, []


def _by_folder(root: Path) -> _Parts:
    """The shards in train/ and val/."""
    vals = [name for name in _VAL_NAMES if (root / name).is_dir()]
    if len(vals) > 1:
        raise LayoutError(
            f"{root} has several folders for validation: {', '.join(vals)}",
            hint=f"keep one of them; rename {vals[1]} to test if it is held out",
        )
    names: list[str] = []
    splits: list[Split | None] = []
    ignored = _beside(root, [], CLASSES_FILE, _TRAIN, *vals)
    for name in (_TRAIN, *vals):
        shards = _shards(root / name) if (root / name).is_dir() else []
        if not shards:
            raise LayoutError(
                f"{root / name} holds no shards (.tar), and the folder beside it does",
                hint=f"put shards into {name}/, or give the folder of shards itself to have the split drawn",
            )
        names += [f"{name}/{shard}" for shard in shards]
        splits += [("val" if name in vals else "train") if vals else None] * len(shards)
        ignored += [FileProblem(f"{name}/{item.path}", item.reason) for item in _beside(root / name, shards)]
    notes = [] if vals else [f"{root} has train/ but no val/: the validation images are drawn from train/"]
    return names, splits, ignored, notes


def _is_shard(name: str) -> bool:
    return name.lower().endswith((_SUFFIX, *_COMPRESSED)) and not is_litter(name)


def _shards(folder: Path) -> list[str]:
    """The names of the tar files in ``folder``, sorted; compressed ones too, to be refused.

    A link that points nowhere is taken, so that it is reported as a shard that cannot be opened.
    """
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if _is_shard(entry.name) and (entry.is_file() or (entry.is_symlink() and not entry.exists()))
    )


def _refuse_compressed(folder: Path, names: Sequence[str]) -> None:
    packed = [name for name in names if not name.lower().endswith(_SUFFIX)]
    if not packed:
        return
    suffix = packed[0].lower().rpartition(".")[2]
    path = folder / packed[0]
    unpack = _UNPACK.get(suffix, f"un{suffix}")
    raise LayoutError(
        f"{len(packed)} of {len(names)} shards are compressed, {printable(packed[0])} first: their images could only "
        "be read in order, from the start",
        hint=f"unpack each once, images hardly shrink: {unpack} {path}",
    )


def _beside(root: Path, shards: Sequence[str], *used: str) -> list[FileProblem]:
    """What lies beside the shards and is not read."""
    known = {*shards, *used}
    names = sorted(entry.name for entry in root.iterdir() if entry.name not in known and not is_litter(entry.name))
    return [
        FileProblem(name, "a folder beside the shards" if (root / name).is_dir() else "a file beside the shards")
        for name in names
    ]


LAYOUT = _WebDataset()
