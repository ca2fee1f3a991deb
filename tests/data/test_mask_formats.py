"""The layouts with label masks: what each takes, leaves out and refuses; listing opens no image."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anysize.data.formats import Listing, all_layouts, read_listing
from anysize.data.formats.cityscapes import CITYSCAPES
from anysize.data.masks.coding import IGNORED, UNKNOWN
from anysize.data.problems import FileProblem
from anysize.errors import LayoutError


def _tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _voc(root: Path, images: str, masks: str | None = None, **lists: str) -> Path:
    _tree(root, *(f"JPEGImages/{name}.jpg" for name in images.split()))
    _tree(root, *(f"SegmentationClass/{name}.png" for name in (images if masks is None else masks).split()))
    for name, stems in lists.items():
        _tree(root, f"ImageSets/Segmentation/{name}.txt")
        (root / "ImageSets/Segmentation" / f"{name}.txt").write_text(stems.replace(" ", "\n") + "\n")
    return root


def _pairs(listing: Listing) -> list[tuple[str, str, str | None]]:
    assert listing.masks is not None
    return list(zip(listing.paths, listing.masks, listing.splits, strict=True))


def _refused(root: Path) -> tuple[str, str | None]:
    with pytest.raises(LayoutError) as caught:
        read_listing(root)
    return caught.value.message, caught.value.hint


def test_voc(tmp_path: Path) -> None:
    _voc(tmp_path, "a b c.d e f", "a b c.d e", train="a c.d", val="b", test="e")
    listing = read_listing(tmp_path)
    assert (listing.layout, listing.labels, listing.classes) == ("voc", None, ())
    assert _pairs(listing) == [
        ("JPEGImages/a.jpg", "SegmentationClass/a.png", "train"),
        ("JPEGImages/c.d.jpg", "SegmentationClass/c.d.png", "train"),
        ("JPEGImages/b.jpg", "SegmentationClass/b.png", "val"),
    ]
    assert listing.ignored == (
        FileProblem("JPEGImages/e.jpg", "in no list that is used"),
        FileProblem("JPEGImages/f.jpg", "no mask in SegmentationClass, and in no list that is used"),
    )
    assert listing.notes == (
        "lists that are not used: test.txt",
        "1 image is in no list that is used and 1 image has no mask: left out, and listed",
    )


@pytest.mark.parametrize(
    ("lists", "splits", "note"),
    [
        ({"train": "a b c"}, {"a": None, "b": None, "c": None}, "there is train.txt and no val.txt: "),
        ({"trainval": "a b c"}, {"a": None, "b": None, "c": None}, "there is trainval.txt and no val.txt: "),
        (
            {"trainval": "a b c", "val": "b"},
            {"a": "train", "b": "val", "c": "train"},
            "there is no train.txt: it is what",
        ),
        (
            {"trainval": "a b c", "train": "b"},
            {"a": "val", "b": "train", "c": "val"},
            "there is no val.txt: it is what",
        ),
        ({}, {"a": None, "b": None, "c": None}, "there are no lists in ImageSets/Segmentation: "),
    ],
)
def test_voc_without_some_list(tmp_path: Path, lists: dict[str, str], splits: dict[str, str], note: str) -> None:
    listing = read_listing(_voc(tmp_path, "a b c", **lists))
    assert {Path(path).stem: split for path, _, split in _pairs(listing)} == splits
    assert listing.notes[0].startswith(note)


def test_trainaug_is_used_where_its_masks_are(tmp_path: Path) -> None:
    _voc(tmp_path, "a b c", "a b", train="a", val="b", trainaug="a c")
    listing = read_listing(tmp_path)
    assert [path for path, _, split in _pairs(listing) if split == "train"] == ["JPEGImages/a.jpg"]
    assert listing.notes[0].startswith("trainaug.txt names 2 images, but 1 files of it are missing")
    _tree(tmp_path, "SegmentationClassAug/a.png", "SegmentationClassAug/c.png")
    listing = read_listing(tmp_path)
    assert _pairs(listing) == [
        ("JPEGImages/a.jpg", "SegmentationClassAug/a.png", "train"),
        ("JPEGImages/c.jpg", "SegmentationClassAug/c.png", "train"),
        ("JPEGImages/b.jpg", "SegmentationClass/b.png", "val"),
    ]
    assert listing.notes[0].startswith(
        "trainaug.txt (2 images, 2 masks of SegmentationClassAug) is used in place of train.txt (1)"
    )
    # As the lists of SBD are often passed on: two paths a line.
    text = "/JPEGImages/a.jpg /SegmentationClassAug/a.png\n/JPEGImages/c.jpg /SegmentationClassAug/c.png\n"
    (tmp_path / "ImageSets/Segmentation/trainaug.txt").write_text(text)
    assert _pairs(read_listing(tmp_path)) == _pairs(listing)


_IN_PLACE = "trainaug.txt (3 images, 3 masks of SegmentationClassAug) is used in place of train.txt (2); "
_ALONE = "there is no train.txt: trainaug.txt (3 images, 3 masks of SegmentationClassAug) is the list to train on"
_UNUSED = "lists that are not used: trainval.txt"


def _is_drawn(name: str) -> str:
    return f"there is {name}.txt and no val.txt: the validation images are drawn from it"


def _is_rest(name: str, given: str, count: int) -> str:
    return f"there is no {name}.txt: it is what trainval.txt has beside {given}.txt ({count} images)"


@pytest.mark.parametrize(
    ("given", "train", "val", "notes"),
    [
        ("train", "ab", "", [_is_drawn("train")]),
        ("trainaug", "abc", "", [_ALONE, _is_drawn("trainaug")]),
        ("trainval", "abd", "", [_is_drawn("trainval")]),
        ("train trainaug", "abc", "", [_IN_PLACE, _is_drawn("trainaug")]),
        ("train val", "ab", "d", []),
        ("train trainval", "ab", "d", [_is_rest("val", "train", 1)]),
        ("trainaug val", "abc", "d", [_ALONE]),
        ("trainaug trainval", "abc", "d", [_ALONE, _is_rest("val", "trainaug", 1)]),
        ("val trainval", "ab", "d", [_is_rest("train", "val", 2)]),
        ("train trainaug val", "abc", "d", [_IN_PLACE]),
        ("train trainaug trainval", "abc", "d", [_IN_PLACE, _is_rest("val", "trainaug", 1)]),
        ("train val trainval", "ab", "d", [_UNUSED]),
        ("trainaug val trainval", "abc", "d", [_ALONE, _UNUSED]),
        ("train trainaug val trainval", "abc", "d", [_IN_PLACE, _UNUSED]),
    ],
)
@pytest.mark.parametrize("form", ["{0}", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"])
def test_no_list_of_voc_is_dropped(
    tmp_path: Path, given: str, train: str, val: str, notes: list[str], form: str
) -> None:
    lists = {"train": "a b", "trainaug": "a b c", "val": "d", "trainval": "a b d"}
    _voc(tmp_path, "a b c d", "a b d", **{name: lists[name] for name in given.split()})
    _tree(tmp_path, *(f"SegmentationClassAug/{name}.png" for name in "abc"))
    if "trainaug" in given.split():  # as names, or as the lists of SBD are often passed on
        file = tmp_path / "ImageSets/Segmentation/trainaug.txt"
        file.write_text("\n".join(form.format(name) for name in "abc"))
    listing = read_listing(tmp_path)
    split = {
        part: "".join(Path(path).stem for path, _, of in _pairs(listing) if of == part) for part in ("train", "val")
    }
    whole = "".join(Path(path).stem for path, _, of in _pairs(listing) if of is None)
    assert (split["train"] or whole, split["val"]) == (train, val)
    folder = "SegmentationClassAug" if "trainaug" in given.split() else "SegmentationClass"
    assert [mask for path, mask, _ in _pairs(listing) if "a.jpg" in path] == [f"{folder}/a.png"]
    kept = [note for note in listing.notes if not note.endswith("left out, and listed")]
    assert len(kept) == len(notes)
    assert all(note.startswith(expected) for note, expected in zip(kept, notes, strict=True)), kept


def test_lists_of_voc_that_leave_nothing_to_train_on(tmp_path: Path) -> None:
    folder = tmp_path / "a/ImageSets/Segmentation"
    _voc(tmp_path / "a", "a b", val="a")
    assert _refused(tmp_path / "a") == (
        f"{folder} has neither train.txt nor trainval.txt; it holds val.txt",
        "write train.txt",
    )
    _voc(tmp_path / "a", "a b", val="a b", trainval="b a")
    assert _refused(tmp_path / "a") == (
        f"{folder} has no train.txt, and trainval.txt names no image beside those of val.txt",
        "write train.txt, or delete val.txt to have a part of trainval.txt drawn for validation",
    )
    _voc(tmp_path / "a", "a b", trainaug=" ")
    assert _refused(tmp_path / "a")[0] == f"{folder / 'trainaug.txt'} is empty"


def test_trainaug_without_its_masks_and_without_train(tmp_path: Path) -> None:
    _voc(tmp_path / "a", "a b c", "a b", trainaug="a c", val="b")
    assert "  trainaug.txt: c: no such mask in SegmentationClass" in _refused(tmp_path / "a")[0]
    _voc(tmp_path / "b", "a b c", "a b", trainaug="a c", val="b", trainval="a b")
    listing = read_listing(tmp_path / "b")
    assert [(Path(path).stem, split) for path, _, split in _pairs(listing)] == [("a", "train"), ("b", "val")]
    assert listing.notes[:2] == (
        "trainaug.txt names 2 images, but 1 files of it are missing or named twice: trainval.txt (2) is used",
        "there is no train.txt: it is what trainval.txt has beside val.txt (1 images)",
    )


def test_trainval_names_only_what_the_other_list_has(tmp_path: Path) -> None:
    listing = read_listing(_voc(tmp_path, "a b", train="a b", trainval="b"))
    assert [split for _, _, split in _pairs(listing)] == [None, None]
    assert listing.notes == (_is_drawn("train"), _UNUSED)


def test_faults_in_the_lists_of_voc_come_in_one_error(tmp_path: Path) -> None:
    _voc(tmp_path, "a b c", "a b d", train="a a b c", val="b d")
    assert _refused(tmp_path) == (
        f"the lists in {tmp_path / 'ImageSets/Segmentation'} have 4 faults:\n"
        "  train.txt: a is named 2 times\n"
        "  train.txt: c: no such mask in SegmentationClass\n"
        "  val.txt: d: no such image in JPEGImages\n"
        "  JPEGImages/b.jpg: in train.txt and in val.txt",
        "delete the names whose files are missing from the lists, or bring the files; "
        "name every image once, in one list",
    )


def test_the_archive_of_voc_is_not_the_folder(tmp_path: Path) -> None:
    _voc(tmp_path / "VOCdevkit" / "VOC2012", "a", train="a")
    message, hint = _refused(tmp_path)
    assert message == f"{tmp_path} is no VOC folder itself; it holds VOCdevkit/VOC2012"
    assert hint == f"give the folder that holds JPEGImages: {tmp_path / 'VOCdevkit/VOC2012'}"


def test_two_images_of_one_name_in_voc(tmp_path: Path) -> None:
    _tree(_voc(tmp_path, "a b", train="a", val="b"), "JPEGImages/a.png")
    assert "a: a.jpg and a.png are both in JPEGImages" in _refused(tmp_path)[0]


@pytest.mark.parametrize("masks", ["masks", "labels", "annotations"])
def test_images_and_masks_in_two_folders(tmp_path: Path, masks: str) -> None:
    _tree(
        tmp_path, "images/train/1.jpg", "images/train/x/2.png", "images/val/3.jpg", "images/test/9.jpg", "classes.txt"
    )
    _tree(tmp_path, f"{masks}/train/1.png", f"{masks}/train/x/2_mask.png", f"{masks}/val/3.png", f"{masks}/val/4.png")
    listing = read_listing(tmp_path)
    assert listing.layout == "mask_folders"
    assert _pairs(listing) == [
        ("images/train/1.jpg", f"{masks}/train/1.png", "train"),
        ("images/train/x/2.png", f"{masks}/train/x/2_mask.png", "train"),
        ("images/val/3.jpg", f"{masks}/val/3.png", "val"),
    ]
    assert [str(item) for item in listing.ignored] == [
        "images/test: a folder beside train/, not used for training",
        f"{masks}/val/4.png: no image in images/val",
    ]
    assert listing.notes == ("1 mask has no image: left out, and listed",)


def test_images_and_masks_without_split_or_inside_it(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "images/1.jpg", "images/2.jpg", "masks/1_label.png")
    listing = read_listing(tmp_path / "a")
    assert _pairs(listing) == [("images/1.jpg", "masks/1_label.png", None)]
    assert listing.ignored == (FileProblem("images/2.jpg", "no mask in masks"),)
    _tree(tmp_path / "b", "train/images/1.jpg", "train/masks/1.png", "val/images/2.jpg", "val/masks/2.png")
    assert _pairs(read_listing(tmp_path / "b")) == [
        ("train/images/1.jpg", "train/masks/1.png", "train"),
        ("val/images/2.jpg", "val/masks/2.png", "val"),
    ]


def test_pairs_that_cannot_be_made(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "images/1.jpg", "masks/2.png")
    assert _refused(tmp_path / "a")[0] == (
        f"no image in {tmp_path / 'a/images'} (1 images, such as 1.jpg) has a mask of its name in "
        f"{tmp_path / 'a/masks'} (1 images, such as 2.png)"
    )
    _tree(tmp_path / "b", "images/1.jpg", "masks/1.png", "masks/1_mask.png")
    assert "has several files for one image" in _refused(tmp_path / "b")[0]
    _tree(tmp_path / "c", "images/1.jpg", "masks/1.png", "labels/1.png")
    assert "several folders that may hold the masks: masks, labels" in _refused(tmp_path / "c")[0]
    _tree(tmp_path / "d", "images/train/1.jpg", "masks/1.png")
    assert _refused(tmp_path / "d")[0] == f"{tmp_path / 'd'} has images/train but no masks/train"


def test_class_folders_are_still_class_folders(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "images/1.jpg", "masks/2.jpg", "hats/3.jpg")  # three things to tell apart
    assert read_listing(tmp_path / "a").layout == "image_folder"
    _tree(tmp_path / "b", "train/images/1.jpg", "train/hats/1.jpg", "val/images/2.jpg", "val/hats/2.jpg")
    assert read_listing(tmp_path / "b").layout == "image_folder_split"
    _tree(tmp_path / "c", "images/train/1.jpg", "labels/train/1.txt")  # boxes, not masks
    assert "class folders without any image: labels" in _refused(tmp_path / "c")[0]


def _cityscapes(root: Path, ending: str) -> Path:
    for split, city in (("train", "ulm"), ("val", "bonn")):
        _tree(root, f"leftImg8bit/{split}/{city}/{city}_1_leftImg8bit.png")
        _tree(root, f"gtFine/{split}/{city}/{city}_1_gtFine_{ending}.png", f"gtFine/{split}/{city}/{city}_1_x.json")
    return _tree(root, "leftImg8bit/test/x/x_1_leftImg8bit.png")


def test_cityscapes(tmp_path: Path) -> None:
    listing = read_listing(_cityscapes(tmp_path / "a", "labelTrainIds"))
    assert listing.layout == "cityscapes"
    assert _pairs(listing) == [
        ("leftImg8bit/train/ulm/ulm_1_leftImg8bit.png", "gtFine/train/ulm/ulm_1_gtFine_labelTrainIds.png", "train"),
        ("leftImg8bit/val/bonn/bonn_1_leftImg8bit.png", "gtFine/val/bonn/bonn_1_gtFine_labelTrainIds.png", "val"),
    ]
    assert [item.path for item in listing.ignored] == ["leftImg8bit/test"]
    assert (listing.classes[0], listing.classes[18], len(listing.classes)) == ("road", "bicycle", 19)
    assert listing.palette is not None
    assert listing.palette[13] == (0, 0, 142)
    assert listing.coding is not None
    assert [listing.coding.lookup[value] for value in (0, 18, 19, 255)] == [0, 18, UNKNOWN, IGNORED]
    listing = read_listing(_cityscapes(tmp_path / "b", "labelIds"))
    assert listing.coding is not None
    assert [listing.coding.lookup[value] for value in (0, 7, 9, 26, 33, 34)] == [IGNORED, 0, IGNORED, 13, 18, UNKNOWN]
    assert [value for value, _, _ in CITYSCAPES] == sorted(value for value, _, _ in CITYSCAPES)
    (tmp_path / "b/gtFine/val/bonn/bonn_1_gtFine_labelIds.png").unlink()
    assert "1 of 2 images" in _refused(tmp_path / "b")[0]


def test_ade20k(tmp_path: Path) -> None:
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        _tree(tmp_path, f"images/{part}/{name}.jpg", f"annotations/{part}/{name}.png")
    listing = read_listing(tmp_path)
    assert (listing.layout, listing.classes) == ("ade20k", ())
    assert [split for _, _, split in _pairs(listing)] == ["train", "val"]
    assert listing.coding is not None
    assert [listing.coding.lookup[value] for value in (0, 1, 150, 151)] == [IGNORED, 0, 149, UNKNOWN]
    rows = [f"{number}\t0.1\t1\t1\t1\tthing, {number} " for number in range(1, 151)]
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "\n".join(rows))
    assert read_listing(tmp_path).classes[149] == "thing, 150"
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows[:9]))
    assert "has 9 rows of 9 different names; ADE20K has 150 classes" in _refused(tmp_path)[0]


def _ade20k(root: Path) -> Path:
    for part, stem in (("training", "ADE_train_0000000"), ("validation", "ADE_val_0000000")):
        _tree(root, *(f"images/{part}/{stem}{n}.jpg" for n in (1, 2)))
        _tree(root, *(f"annotations/{part}/{stem}{n}.png" for n in (1, 2)))
    return root


_STRAY = ("Thumbs.db", "readme.txt", "index.html", "._ADE_train_00000001.png", ".DS_Store", "notes")


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("stray", _STRAY)
def test_files_that_are_no_masks_do_not_hide_ade20k(
    tmp_path: Path, stray: str, backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tree(_ade20k(tmp_path), f"annotations/training/{stray}")
    monkeypatch.setattr(Path, "iterdir", _in_order(stray, last=backwards))
    listing = read_listing(tmp_path)
    assert (listing.layout, len(listing.paths)) == ("ade20k", 4)
    assert listing.coding is not None
    assert listing.coding.lookup[0] == IGNORED
    assert listing.coding_notes[0] == "value 0 of the masks is no label, and the classes begin at 1, as in ADE20K"


def _in_order(stray: str, *, last: bool) -> Callable[[Path], Iterator[Path]]:
    """`Path.iterdir` of a file system that gives the stray file first, or last."""

    given = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        return iter(sorted(given(folder), key=lambda path: (path.name == stray) == last))

    return iterdir


def test_other_masks_among_those_of_ade20k_are_told(tmp_path: Path) -> None:
    _tree(_ade20k(tmp_path), "images/training/0.jpg", "annotations/training/0.png")
    listing = read_listing(tmp_path)
    assert (listing.layout, len(listing.paths)) == ("ade20k", 5)
    assert listing.coding_notes[1] == (
        "1 of 3 masks in annotations/training is not named as ADE20K's are (ADE_train_00000001), and yet read as such"
    )


@pytest.mark.parametrize("layout", ["voc", "cityscapes", "ade20k", "mask_folders", "outside", "csv_masks"])
def test_litter_changes_nothing(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "data"
    if layout == "voc":
        _voc(root, "a b", train="a", val="b")
        _tree(root, "SegmentationClassAug/a.png")
    elif layout == "cityscapes":
        _cityscapes(root, "labelIds")
    elif layout == "ade20k":
        _ade20k(root)
    elif layout == "mask_folders":
        _tree(root, "images/train/1.jpg", "images/val/2.jpg", "masks/train/1.png", "masks/val/2.png")
    elif layout == "outside":
        _tree(root, "train/images/1.jpg", "train/masks/1.png", "val/images/2.jpg", "val/masks/2.png")
    else:
        _tree(root, "i/1.jpg", "i/2.jpg", "m/1.png", "m/2.png")
        (root / "pairs.csv").write_text("path,mask\ni/1.jpg,m/1.png\ni/2.jpg,m/2.png\n")
    clean = read_listing(root)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        present = [path for path in folder.iterdir() if path.is_file()]
        _tree(folder, *(f"._{path.name}" for path in present))  # as macOS writes beside every file
        _tree(folder, "Thumbs.db", "desktop.ini", ".DS_Store", "._x.png", "._x.txt", "._x.csv", "__MACOSX/._1.png")
        _tree(folder, "@eaDir/1.jpg", ".ipynb_checkpoints/1.png")
    assert read_listing(root) == clean


def test_a_folder_in_no_layout_is_described_without_litter(tmp_path: Path) -> None:
    _tree(tmp_path, "Thumbs.db", "__MACOSX/x", "notes.txt")
    assert _refused(tmp_path)[0] == f"{tmp_path} is in no known layout; it holds no folders and 1 file (notes.txt)"


def test_folders_named_like_those_of_ade20k(tmp_path: Path) -> None:
    _tree(tmp_path, "images/training/1.jpg", "annotations/training/1.png")
    listing = read_listing(tmp_path)
    assert (listing.layout, listing.coding) == ("mask_folders", None)


def test_tables_of_masks(tmp_path: Path) -> None:
    _tree(tmp_path, "i/1.jpg", "i/2.jpg", "m/1.png", "m/2.png")
    table = tmp_path / "pairs.csv"
    table.write_text("path,mask,split\ni/1.jpg,m/1.png,train\ni/2.jpg,./m/2.png,valid\n")
    for root in (tmp_path, table):
        listing = read_listing(root)
        assert listing.layout == "csv_masks"
        assert _pairs(listing) == [("i/1.jpg", "m/1.png", "train"), ("i/2.jpg", "m/2.png", "val")]
    table.write_text("path,mask\ni/1.jpg,m/1.png\ni/2.jpg,m/3.png\n")
    assert _refused(table)[0] == f"1 of 4 files that {table} names are missing:\n  m/3.png: no such file"
    table.write_text("path,mask\ni/1.jpg,\n")
    assert _refused(table) == (
        f"{table} has 1 rows that cannot be used:\n  line 2: the mask is empty",
        "give every image one row, with a path, a mask, and train or val if there is a split",
    )


def test_a_table_of_labels_and_masks_does_not_say_which_is_meant(tmp_path: Path) -> None:
    _tree(tmp_path, "i/1.jpg", "i/2.jpg", "m/1.png", "m/2.png")
    table = tmp_path / "pairs.csv"
    table.write_text("path,Label ,mask\ni/1.jpg,cat,m/1.png\ni/2.jpg,dog,m/2.png\n")
    for root in (tmp_path, table):
        assert _refused(root) == (
            f"{table} has the columns mask and label: pixels may be meant, or whole images",
            "remove or rename the column that is not meant: without label the masks are learnt, without mask the "
            "labels",
        )
    table.write_text("path,kind,mask\ni/1.jpg,cat,m/1.png\ni/2.jpg,dog,m/2.png\n")
    assert read_listing(tmp_path).layout == "csv_masks"
    (tmp_path / "kinds.csv").write_text("path,label\ni/1.jpg,cat\ni/2.jpg,dog\n")
    assert _refused(tmp_path) == (
        f"{tmp_path} has a table of masks (pairs.csv) and a table of labels (kinds.csv): pixels may be meant, or whole "
        "images",
        f"give the one that is meant: {table} or {tmp_path / 'kinds.csv'}",
    )
    assert (read_listing(table).layout, read_listing(tmp_path / "kinds.csv").layout) == ("csv_masks", "csv_table")


@pytest.mark.parametrize("layout", ["voc", "cityscapes", "ade20k", "mask_folders"])
def test_a_table_beside_images_and_masks(tmp_path: Path, layout: str) -> None:
    if layout == "voc":
        _voc(tmp_path, "a b", train="a", val="b")
    elif layout == "cityscapes":
        _cityscapes(tmp_path, "labelIds")
    elif layout == "ade20k":
        _ade20k(tmp_path)
    else:
        _tree(tmp_path, "images/1.jpg", "images/2.jpg", "masks/1.png", "masks/2.png")
    listing = read_listing(tmp_path)
    assert listing.layout == layout
    first, second = listing.paths[:2]
    table = tmp_path / "x.csv"
    table.write_text(f"path,label\n{first},cat\n{second},dog\n")
    assert _refused(tmp_path) == (
        f"{tmp_path} holds images with label masks ({layout}) and a table of labels (x.csv): pixels may be meant, or "
        "whole images",
        "to learn the masks, move x.csv out of the folder; to learn the labels of whole images, give the table: "
        f"{table}",
    )
    assert read_listing(table).layout == "csv_table"
    assert listing.masks is not None
    table.write_text(f"path,mask\n{first},{listing.masks[0]}\n")
    listing = read_listing(tmp_path)
    assert (listing.layout, listing.paths) == ("csv_masks", (first,))
    assert listing.notes == (
        f"x.csv says which images and masks are used; whatever else the folder holds ({layout}) is not looked at",
    )
    assert read_listing(table).notes == ()
    table.write_text("name,size\na,1\n")  # a table of something else
    assert read_listing(tmp_path).layout == layout


def test_layouts_with_masks_say_so(tmp_path: Path) -> None:
    named = {layout.name for layout in all_layouts() if layout.has_masks}
    assert named == {"voc", "cityscapes", "ade20k", "mask_folders", "csv_masks"}


@pytest.mark.parametrize(
    ("images", "masks"),
    [("Images", "Masks"), ("images", "gt"), ("Image", "GroundTruth"), ("IMG", "Annotations"), ("imgs", "ground_truth")],
)
def test_folders_of_masks_in_any_case(tmp_path: Path, images: str, masks: str) -> None:
    _tree(tmp_path, f"{images}/1.jpg", f"{masks}/1.png", f"{images}/2.jpg", f"{masks}/2_gt.png")
    listing = read_listing(tmp_path)
    assert listing.layout == "mask_folders"
    assert _pairs(listing) == [
        (f"{images}/1.jpg", f"{masks}/1.png", None),
        (f"{images}/2.jpg", f"{masks}/2_gt.png", None),
    ]


def test_parts_of_masks_in_any_case(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "train/Image/1.jpg", "train/Mask/1.png", "Val/Image/2.jpg", "Val/Mask/2.png")
    assert _pairs(read_listing(tmp_path / "a")) == [
        ("train/Image/1.jpg", "train/Mask/1.png", "train"),
        ("Val/Image/2.jpg", "Val/Mask/2.png", "val"),
    ]
    _tree(tmp_path / "b", "Images/Train/1.jpg", "Masks/train/1.png", "Images/val/2.jpg", "Masks/Val/2.png")
    assert _pairs(read_listing(tmp_path / "b")) == [
        ("Images/Train/1.jpg", "Masks/train/1.png", "train"),
        ("Images/val/2.jpg", "Masks/Val/2.png", "val"),
    ]


def test_other_folders_beside_images_and_masks(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "images/1.jpg", "masks/1.png", "overlays/1.jpg", "docs/readme.txt")
    listing = read_listing(tmp_path / "a")
    assert _pairs(listing) == [("images/1.jpg", "masks/1.png", None)]
    assert [item.path for item in listing.ignored] == ["docs", "overlays"]
    assert listing.notes == ("images and masks are images with label masks; not used: overlays",)
    _tree(tmp_path / "b", "train/images/1.jpg", "train/masks/1.png", "train/overlays/1.jpg", "test/9.jpg")
    listing = read_listing(tmp_path / "b")
    assert _pairs(listing) == [("train/images/1.jpg", "train/masks/1.png", None)]
    assert [item.path for item in listing.ignored] == ["test", "train/overlays"]
    assert listing.notes[0] == ("train/images and train/masks are images with label masks; not used: train/overlays")


@pytest.mark.parametrize(
    ("names", "images", "masks"),
    [
        ("train/1.jpg|train/2.jpg|train_masks/1_mask.gif|train_masks/2_mask.gif|test/3.jpg", "train", "train_masks"),
        ("photos/1.jpg|trainMasks/1.png", "photos", "trainMasks"),
        (
            "Task1_Training_Input/a_1.jpg|Task1_GroundTruth/a_1_segmentation.png|Task1_GroundTruth/a_2_segmentation.png",
            "Task1_Training_Input",
            "Task1_GroundTruth",
        ),
        ("train/1.png|trainannot/1.png|val/2.png|valannot/2.png", "train", "trainannot"),
        ("train/a/1.png|train/a labels/1.png|val/a/2.png|val/a labels/2.png", "a", "a labels"),
        ("city/1.jpg|city_gt/1.png", "city", "city_gt"),
    ],
)
def test_masks_are_never_taken_for_a_class_in_silence(tmp_path: Path, names: str, images: str, masks: str) -> None:
    _tree(tmp_path, *names.split("|"))
    message, hint = _refused(tmp_path)
    assert f"has a folder {masks} whose files are called as those of {images}" in message
    assert hint is not None
    assert hint.startswith(f"rename {images} to images and {masks} to masks, ")


def test_classes_whose_names_have_such_words(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "mask/1.jpg", "no_mask/1.jpg")  # faces
    _tree(tmp_path / "b", "face/1.jpg", "mask/2.jpg")
    _tree(tmp_path / "c", "ford gt/1.jpg", "fiat/1.jpg")
    _tree(tmp_path / "d", "a/1.jpg", "b/1.jpg", "c/1.jpg", "labels/1.jpg")  # numbered in each
    for name in "abcd":
        assert read_listing(tmp_path / name).layout == "image_folder"


def test_accents_of_macos_are_paired(tmp_path: Path) -> None:
    apart, composed = "cafe\u0301", "caf\u00e9"
    _tree(tmp_path / "a", f"images/{apart}.jpg", f"masks/{composed}.png")
    assert _pairs(read_listing(tmp_path / "a")) == [(f"images/{apart}.jpg", f"masks/{composed}.png", None)]
    _voc(tmp_path / "b", apart, composed, train=composed)
    assert _pairs(read_listing(tmp_path / "b")) == [
        (f"JPEGImages/{apart}.jpg", f"SegmentationClass/{composed}.png", None)
    ]
    (tmp_path / "b/ImageSets/Segmentation/train.txt").write_text(apart, encoding="utf-8")
    assert len(_pairs(read_listing(tmp_path / "b"))) == 1
    name = f"gtFine/train/{apart}/{apart}_gtFine_labelIds.png"
    _tree(tmp_path / "c", f"leftImg8bit/train/{apart}/{apart}_leftImg8bit.png", name)
    assert read_listing(tmp_path / "c").masks == (name,)


def test_one_image_written_in_two_ways_in_a_table(tmp_path: Path) -> None:
    _tree(tmp_path, "a/1.jpg", "b/1.png")
    (tmp_path / "t.csv").write_text("path,mask\na/1.jpg,b/1.png\nb/../a/1.jpg,b/1.png\n")
    assert "line 3: b/../a/1.jpg is in line 2 already" in _refused(tmp_path)[0]
