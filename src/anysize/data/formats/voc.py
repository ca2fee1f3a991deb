"""Pascal VOC: JPEGImages/, SegmentationClass/, ImageSets/Segmentation/{train,val}.txt.

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015; trainaug.txt and
SegmentationClassAug are those of Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anysize.data.folders import class_folders
from anysize.data.formats import Listing, Split
from anysize.data.formats.mask_pairs import counted
from anysize.data.formats.voc_lists import VocFiles, VocPair, pairs_of, read_lists, refuse, voc_files
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT"]

_IMAGES, _MASKS, _AUGMENTED = "JPEGImages", "SegmentationClass", "SegmentationClassAug"
_LISTS = Path("ImageSets") / "Segmentation"


@dataclass(frozen=True, slots=True)
class _Choice:
    """The names to train on and to validate on (None: to be drawn), and what was decided."""

    train: str
    val: str | None
    lines: dict[str, list[str]]
    notes: tuple[str, ...]


class _Voc:
    name = "voc"
    order = 11
    sketch = "ROOT/JPEGImages/1.jpg, ROOT/SegmentationClass/1.png, ROOT/ImageSets/Segmentation/train.txt"

    def matches(self, root: Path) -> bool:
        return root.is_dir() and (_is_voc(root) or bool(_below(root)))

    def read(self, root: Path) -> Listing:
        if not _is_voc(root):
            found = _below(root)
            names = ", ".join(folder.relative_to(root).as_posix() for folder in found)
            raise LayoutError(
                f"{root} is no VOC folder itself; it holds {names}",
                hint=f"give the folder that holds {_IMAGES}: {found[0]}",
            )
        images = voc_files(root, _IMAGES)
        plain, augmented = voc_files(root, _MASKS), voc_files(root, _AUGMENTED)
        lists = read_lists(root / _LISTS)
        if not lists:
            return _unlisted(root, images, plain if plain.files else augmented)
        choice = _with_augmented(root, _choose(root, lists), lists, images, (augmented, plain))
        folders = {name: _folders(name, plain, augmented) for name in choice.lines}
        read = {name: pairs_of(root, name, lines, images, folders[name]) for name, lines in choice.lines.items()}
        pairs = {name: found for name, (found, _) in read.items()}
        problems = [problem for _, faults in read.values() for problem in faults]
        refuse(root, [*problems, *_in_both(choice, pairs)])
        return _listing(root, choice, pairs, images, (plain, augmented), _unused_notes(choice, lists))


def _is_voc(root: Path) -> bool:
    if not (root / _IMAGES).is_dir():
        return False
    return any((root / name).is_dir() for name in (_MASKS, _AUGMENTED, _LISTS))


def _below(root: Path) -> list[Path]:
    """VOC folders one or two steps down, as the archives unpack them: VOCdevkit/VOC2012."""
    first = [root / name for name in class_folders(root)]
    second = [folder / name for folder in first if folder.name == "VOCdevkit" for name in class_folders(folder)]
    return [folder for folder in (*first, *second) if _is_voc(folder)]


def _choose(root: Path, lists: dict[str, list[str]]) -> _Choice:
    """train and val; where one of them is missing what trainval leaves, and where nothing does, None."""
    folder = root / _LISTS
    empty = [name for name in ("train", "val", "trainval") if lists.get(name) == []]
    if empty:
        raise LayoutError(f"{folder / (empty[0] + '.txt')} is empty", hint="write a name a line, or delete the list")
    both = lists.get("trainval")
    if "train" in lists and "val" in lists:
        return _Choice("train", "val", {name: lists[name] for name in ("train", "val")}, ())
    if both is not None and ("train" in lists or "val" in lists):
        given, other = ("train", "val") if "train" in lists else ("val", "train")
        rest = [line for line in both if line not in set(lists[given])]
        if rest:
            note = f"there is no {other}.txt: it is what trainval.txt has beside {given}.txt ({len(rest)} images)"
            return _Choice("train", "val", {given: lists[given], other: rest}, (note,))
    for name in ("train", "trainval", "trainaug"):
        if name in lists:
            note = f"there is {name}.txt and no val.txt: the validation images are drawn from it"
            return _Choice(name, None, {name: lists[name]}, (note,))
    found = ", ".join(printable(f"{name}.txt") for name in lists)
    raise LayoutError(f"{folder} has neither train.txt nor trainval.txt; it holds {found}", hint="write train.txt")


def _with_augmented(
    root: Path, choice: _Choice, lists: dict[str, list[str]], images: VocFiles, masks: Sequence[VocFiles]
) -> _Choice:
    """trainaug in place of train, where all that it names is there."""
    if "trainaug" not in lists or choice.train != "train":
        return choice
    lines = lists["trainaug"]
    pairs, problems = pairs_of(root, "trainaug", lines, images, masks)
    if problems or not pairs:
        note = (
            f"trainaug.txt names {len(lines)} images, but {len(problems)} files of it are missing or named twice: "
            f"train.txt ({len(choice.lines['train'])}) is used"
        )
        return _Choice(choice.train, choice.val, choice.lines, (*choice.notes, note))
    augmented = sum(pair.mask.startswith(f"{_AUGMENTED}/") for pair in pairs)
    note = (
        f"trainaug.txt ({len(lines)} images, {augmented} masks of {_AUGMENTED}) is used in place of train.txt "
        f"({len(choice.lines['train'])}); delete or rename it to train on train.txt"
    )
    parts = {"trainaug": lines} | ({} if choice.val is None else {choice.val: choice.lines[choice.val]})
    return _Choice("trainaug", choice.val, parts, (*choice.notes, note))


def _folders(name: str, plain: VocFiles, augmented: VocFiles) -> tuple[VocFiles, ...]:
    """Where the masks of a list are looked for, in this order."""
    ordered = (augmented, plain) if name == "trainaug" else (plain, augmented)
    return tuple(folder for folder in ordered if folder.files) or (plain,)


def _in_both(choice: _Choice, pairs: dict[str, list[VocPair]]) -> list[FileProblem]:
    if choice.val is None:
        return []
    train = {pair.image for pair in pairs[choice.train]}
    return [
        FileProblem(pair.image, f"in {choice.train}.txt and in {choice.val}.txt")
        for pair in pairs[choice.val]
        if pair.image in train
    ]


def _unused_notes(choice: _Choice, lists: dict[str, list[str]]) -> tuple[str, ...]:
    unused = [name for name in lists if name not in choice.lines and name not in ("train", "trainval", "trainaug")]
    if not unused:
        return ()
    return (f"lists that are not used: {', '.join(printable(name) + '.txt' for name in unused)}",)


def _listing(
    root: Path,
    choice: _Choice,
    pairs: dict[str, list[VocPair]],
    images: VocFiles,
    masks: Sequence[VocFiles],
    notes: tuple[str, ...],
) -> Listing:
    order: list[tuple[VocPair, Split | None]] = []
    for name in (choice.train, choice.val):
        if name is not None:
            split: Split | None = None if choice.val is None else "val" if name == choice.val else "train"
            order += [(pair, split) for pair in pairs[name]]
    used = {pair.image for pair, _ in order}
    left = _left_out(images, masks, used)
    without = sum(item.reason.startswith("no mask") for item in left)
    unused = " in no list that is used"
    counts = counted(len(left) - without, "image", "is" + unused, "are" + unused)
    counts += counted(without, "image", "has no mask", "have no mask")
    notes = (*choice.notes, *notes, *([f"{' and '.join(counts)}: left out, and listed"] if left else []))
    return Listing(
        layout=_Voc.name,
        root=root,
        paths=tuple(pair.image for pair, _ in order),
        labels=None,
        classes=(),
        splits=tuple(split for _, split in order),
        ignored=(*left, *images.others),
        notes=notes,
        masks=tuple(pair.mask for pair, _ in order),
    )


def _left_out(images: VocFiles, masks: Sequence[VocFiles], used: set[str]) -> list[FileProblem]:
    reasons = {True: "in no list that is used", False: f"no mask in {masks[0].folder}, and in no list that is used"}
    return [
        FileProblem(f"{_IMAGES}/{name}", reasons[any(stem in folder.files for folder in masks)])
        for stem, name in images.files.items()
        if f"{_IMAGES}/{name}" not in used
    ]


def _unlisted(root: Path, images: VocFiles, masks: VocFiles) -> Listing:
    """Every image that has a mask, where there is no list at all."""
    stems = [stem for stem in images.files if stem in masks.files]
    if not stems:
        raise LayoutError(
            f"no image in {root / _IMAGES} ({len(images.files)} files) has a mask of its name in {root / masks.folder} "
            f"({len(masks.files)} files)",
            hint=f"call each mask as its image: {_IMAGES}/a.jpg and {masks.folder}/a.png",
        )
    name = "every image with a mask"
    choice = _Choice(name, None, {}, (f"there are no lists in {_LISTS.as_posix()}: all images with a mask are taken",))
    pairs = [VocPair(f"{_IMAGES}/{images.files[stem]}", f"{masks.folder}/{masks.files[stem]}") for stem in stems]
    return _listing(root, choice, {name: pairs}, images, (masks,), ())


LAYOUT = _Voc()
