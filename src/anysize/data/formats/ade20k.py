"""ADE20K (the challenge of 2016): value 0 is no label, 1 to 150 are the classes.

Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017.
"""

import re
from pathlib import Path, PurePosixPath

from anysize.data.folders import class_folders, has_image, walk
from anysize.data.formats import Listing
from anysize.data.formats.mask_pairs import MaskPart, listing_of_pairs, pair_by_stem
from anysize.data.masks.coding import IGNORED, index_coding
from anysize.data.problems import FileProblem
from anysize.errors import LayoutError

__all__ = ["LAYOUT"]

_NUM_CLASSES = 150
_NAMES = "objectInfo150.txt"
_STEM = re.compile(r"ADE_(train|val)_\d{8}")


class _Ade20k:
    name = "ade20k"
    order = 13
    sketch = "ROOT/images/training/ADE_train_1.jpg, ROOT/annotations/training/ADE_train_1.png"
    has_masks = True

    def matches(self, root: Path) -> bool:
        images, masks = root / "images" / "training", root / "annotations" / "training"
        if not (images.is_dir() and masks.is_dir() and has_image(masks)):
            return False
        # The names of the folders alone are used by others, whose value 0 is a class. One name of ADE20K's is enough:
        # masks of others among them are told, and value 0 never becomes a class in silence.
        return (root / _NAMES).is_file() or any(_named_as_ade20k(masks))

    def read(self, root: Path) -> Listing:
        parts = [MaskPart("images/training", "annotations/training", None)]
        notes = ["value 0 of the masks is no label, and the classes begin at 1, as in ADE20K"]
        if (root / "images" / "validation").is_dir():
            parts = [
                MaskPart("images/training", "annotations/training", "train"),
                MaskPart("images/validation", "annotations/validation", "val"),
            ]
            if not (root / "annotations" / "validation").is_dir():
                raise LayoutError(
                    f"{root} has images/validation but no annotations/validation",
                    hint="unpack ADEChallengeData2016.zip anew, or delete images/validation to draw a split",
                )
        names = _class_names(root)
        notes += [note for part in parts for note in _note_on_others(root, part.masks)]
        notes.append(f"class names are those of {_NAMES}" if names else f"there is no {_NAMES}: classes are numbered")
        meanings = {value: value - 1 for value in range(1, _NUM_CLASSES + 1)} | {0: IGNORED, IGNORED: IGNORED}
        return listing_of_pairs(
            root,
            self.name,
            [(part, pair_by_stem(root, part)) for part in parts],
            coding_notes=notes,
            ignored=_beside(root),
            classes=names,
            coding=index_coding(meanings, _NUM_CLASSES),
        )


def _named_as_ade20k(folder: Path) -> list[bool]:
    """Of each image in ``folder``, whether it has a name of ADE20K's; hidden files and litter are none."""
    return [_STEM.fullmatch(PurePosixPath(name).stem) is not None for name in walk(folder).images]


def _note_on_others(root: Path, masks: str) -> list[str]:
    named = _named_as_ade20k(root / masks)
    others = named.count(False)
    if not others or not any(named):
        return []
    are = "is" if others == 1 else "are"
    return [
        f"{others} of {len(named)} masks in {masks} {are} not named as ADE20K's are (ADE_train_00000001), and yet read "
        "as such"
    ]


def _class_names(root: Path) -> tuple[str, ...]:
    """The last column of the table; empty where there is none.

    Raises:
        LayoutError: the table has not 150 rows.
    """
    file = root / _NAMES
    if not file.is_file():
        return ()
    lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    names = tuple(line.split("\t")[-1].strip() for line in lines if line.split("\t")[0].strip().isdigit())
    if len(names) != _NUM_CLASSES or len(set(names)) != _NUM_CLASSES:
        raise LayoutError(
            f"{file} has {len(names)} rows of {len(set(names))} different names; ADE20K has {_NUM_CLASSES} classes",
            hint=f"take {_NAMES} from ADEChallengeData2016.zip (columns separated by tabs), or delete it",
        )
    return names


def _beside(root: Path) -> list[FileProblem]:
    return [
        FileProblem(f"images/{name}", "a folder beside training/ and validation/, not used")
        for name in class_folders(root / "images")
        if name not in ("training", "validation")
    ]


LAYOUT = _Ade20k()
