"""Cityscapes: leftImg8bit/ and gtFine/, 19 classes.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; the table is that of the
published scripts (cityscapesscripts/helpers/labels.py).
"""

from pathlib import Path, PurePosixPath

from anysize.data.folders import class_folders, has_image, walk
from anysize.data.formats import Listing
from anysize.data.formats.mask_pairs import MaskPart, Pairs, listing_of_pairs
from anysize.data.masks.coding import IGNORED, MaskCoding, index_coding
from anysize.data.problems import FileProblem, describe
from anysize.errors import LayoutError

__all__ = ["CITYSCAPES", "LAYOUT"]

CITYSCAPES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
"""The classes in the order of their trainId: value in labelIds files, name, colour."""

_IMAGES, _MASKS = "leftImg8bit", "gtFine"
_TRAIN_IDS, _IDS = "_gtFine_labelTrainIds", "_gtFine_labelIds"
_NUM_IDS = 34
_USED = ("train", "val")


class _Cityscapes:
    name = "cityscapes"
    order = 12
    sketch = "ROOT/leftImg8bit/train/CITY/1_leftImg8bit.png, ROOT/gtFine/train/CITY/1_gtFine_labelIds.png"
    has_masks = True

    def matches(self, root: Path) -> bool:
        return all((root / folder / "train").is_dir() for folder in (_IMAGES, _MASKS)) and has_image(
            root / _IMAGES / "train"
        )

    def read(self, root: Path) -> Listing:
        has_val = (root / _IMAGES / "val").is_dir()
        parts = [MaskPart(f"{_IMAGES}/train", f"{_MASKS}/train", "train" if has_val else None)]
        if has_val:
            parts.append(MaskPart(f"{_IMAGES}/val", f"{_MASKS}/val", "val"))
        images = [walk(root / part.images) for part in parts]
        stems = [[_stem(name) for name in found.images] for found in images]
        ending = _ending(root, parts, stems)
        pairs = [
            Pairs(
                images=tuple(f"{part.images}/{name}" for name in found.images),
                masks=tuple(f"{part.masks}/{stem}{ending}.png" for stem in names),
                ignored=tuple(FileProblem(f"{part.images}/{item.path}", item.reason) for item in found.ignored),
                num_without_mask=0,
                num_without_image=0,
            )
            for part, found, names in zip(parts, images, stems, strict=True)
        ]
        return listing_of_pairs(
            root,
            self.name,
            list(zip(parts, pairs, strict=True)),
            notes=[_FILES[ending]] + ([] if has_val else [f"{root / _IMAGES} has no val/: it is drawn from train/"]),
            ignored=_unused(root),
            classes=tuple(name for _, name, _ in CITYSCAPES),
            palette=tuple(color for _, _, color in CITYSCAPES),
            coding=_coding(ending),
            coding_notes=[_NOTES[ending]],
        )


_FILES = {_TRAIN_IDS: "masks are the labelTrainIds files", _IDS: "masks are the labelIds files"}
_NOTES = {
    _TRAIN_IDS: "19 classes, as in Cityscapes; 255 is no label",
    _IDS: "values are translated to the 19 classes of Cityscapes that are trained on; the others are no label",
}


def _stem(name: str) -> str:
    # As it is written, not composed: the name of the mask is made of it.
    return PurePosixPath(name).with_suffix("").as_posix().removesuffix(f"_{_IMAGES}")


def _ending(root: Path, parts: list[MaskPart], stems: list[list[str]]) -> str:
    """Which masks are there for every image: train ids rather than ids.

    Raises:
        LayoutError: neither.
    """
    wanted = [(part, stem) for part, names in zip(parts, stems, strict=True) for stem in names]
    missing = {
        ending: [path for part, stem in wanted if not (root / (path := f"{part.masks}/{stem}{ending}.png")).is_file()]
        for ending in (_TRAIN_IDS, _IDS)
    }
    for ending, paths in missing.items():
        if not paths:
            return ending
    fewest = min(missing, key=lambda ending: len(missing[ending]))
    problems = [FileProblem(path, "no such file") for path in missing[fewest]]
    raise LayoutError(
        f"{len(problems)} of {len(wanted)} images in {root / _IMAGES} have no mask:\n{describe(problems)}",
        hint="unpack gtFine_trainvaltest.zip beside leftImg8bit, or delete the images without masks",
    )


def _coding(ending: str) -> MaskCoding:
    trained = {value: label for label, (value, _, _) in enumerate(CITYSCAPES)}
    if ending == _TRAIN_IDS:
        meanings = {label: label for label in range(len(CITYSCAPES))}
    else:
        meanings = {value: trained.get(value, IGNORED) for value in range(_NUM_IDS)}
    return index_coding(meanings | {IGNORED: IGNORED}, len(CITYSCAPES))


def _unused(root: Path) -> list[FileProblem]:
    """test has no labels to speak of, and the coarse labels of train_extra are others."""
    return [
        FileProblem(f"{_IMAGES}/{name}", "a folder beside train/ and val/, not used for training")
        for name in class_folders(root / _IMAGES)
        if name not in _USED
    ]


LAYOUT = _Cityscapes()
