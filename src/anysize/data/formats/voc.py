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
from anysize.data.formats.voc_lists import VocFiles, VocPair, image_of, pairs_of, read_lists, refuse, voc_files
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT"]

_IMAGES, _MASKS, _AUGMENTED = "JPEGImages", "SegmentationClass", "SegmentationClassAug"
_LISTS = Path("ImageSets") / "Segmentation"
_KNOWN = ("train", "val", "trainval", "trainaug")


@dataclass(frozen=True, slots=True)
class _Choice:
    """The lists to train on and to validate on (None: to be drawn), the lines used of each, and what was decided."""

    train: str
    val: str | None
    lines: dict[str, list[str]]
    notes: tuple[str, ...]


class _Voc:
    name = "voc"
    order = 11
    sketch = "ROOT/JPEGImages/1.jpg, ROOT/SegmentationClass/1.png, ROOT/ImageSets/Segmentation/train.txt"
    has_masks = True

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
        choice = _choose(root, lists, images, _folders("trainaug", plain, augmented))
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


def _choose(root: Path, lists: dict[str, list[str]], images: VocFiles, masks: Sequence[VocFiles]) -> _Choice:
    """train (trainaug, where it can be used) and val; where one of them is missing what trainval has beside the other,
    and where nothing names val, None.

    Raises:
        LayoutError: no list of images to train on, or an empty one.
    """
    folder = root / _LISTS
    empty = [name for name in _KNOWN if lists.get(name) == []]
    if empty:
        raise LayoutError(f"{folder / (empty[0] + '.txt')} is empty", hint="write a name a line, or delete the list")
    train, notes = _train_list(root, lists, images, masks)
    val = "val" if "val" in lists else None
    if train is not None and val is not None:
        return _Choice(train, val, {name: lists[name] for name in (train, val)}, notes)
    given, missing = (val, "train") if train is None else (train, "val")
    rest = [] if given is None else _beside(root, images, lists.get("trainval", []), lists[given])
    if given is not None and rest:
        note = f"there is no {missing}.txt: it is what trainval.txt has beside {given}.txt ({len(rest)} images)"
        # The rest keeps the name of the list that it is taken from: errors tell where its lines stand.
        lines = {given: lists[given], "trainval": rest}
        return _Choice(train or "trainval", val or "trainval", lines, (*notes, note))
    if train is not None:
        return _drawn(train, lists, notes)
    if val is None and "trainval" in lists:
        return _drawn("trainval", lists, notes)
    raise _nothing_to_train_on(folder, lists)


def _nothing_to_train_on(folder: Path, lists: dict[str, list[str]]) -> LayoutError:
    if "trainval" in lists:
        return LayoutError(
            f"{folder} has no train.txt, and trainval.txt names no image beside those of val.txt",
            hint="write train.txt, or delete val.txt to have a part of trainval.txt drawn for validation",
        )
    found = ", ".join(printable(f"{name}.txt") for name in lists)
    return LayoutError(f"{folder} has neither train.txt nor trainval.txt; it holds {found}", hint="write train.txt")


def _drawn(name: str, lists: dict[str, list[str]], notes: tuple[str, ...]) -> _Choice:
    note = f"there is {name}.txt and no val.txt: the validation images are drawn from it"
    return _Choice(name, None, {name: lists[name]}, (*notes, note))


def _beside(root: Path, images: VocFiles, lines: Sequence[str], given: Sequence[str]) -> list[str]:
    """The lines of images that ``given`` does not name, in whichever form the two lists are written."""
    named = {image_of(root, line, images) for line in given}
    return [line for line in lines if image_of(root, line, images) not in named]


def _train_list(
    root: Path, lists: dict[str, list[str]], images: VocFiles, masks: Sequence[VocFiles]
) -> tuple[str | None, tuple[str, ...]]:
    """trainaug where all that it names is there or nothing else says what to train on, else train, else None; and what
    was decided."""
    train = "train" if "train" in lists else None
    if "trainaug" not in lists:
        return train, ()
    lines = lists["trainaug"]
    pairs, problems = pairs_of(root, "trainaug", lines, images, masks)
    other = train or ("trainval" if "trainval" in lists else None)
    if problems and other is not None:
        note = f"trainaug.txt names {len(lines)} images, but {len(problems)} files of it are missing or named twice: "
        return train, (f"{note}{other}.txt ({len(lists[other])}) is used",)
    augmented = sum(pair.mask.startswith(f"{_AUGMENTED}/") for pair in pairs)
    counts = f"{len(lines)} images, {augmented} masks of {_AUGMENTED}"
    if train is None:
        return "trainaug", (f"there is no train.txt: trainaug.txt ({counts}) is the list to train on",)
    note = f"trainaug.txt ({counts}) is used in place of train.txt ({len(lists['train'])}); "
    return "trainaug", (f"{note}delete or rename it to train on train.txt",)


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
    # One of train and trainaug in place of the other has a note of its own.
    unused = [name for name in lists if name not in choice.lines and name not in ("train", "trainaug")]
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
