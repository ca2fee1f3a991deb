"""The layouts: what each takes, and every error message in full."""

from pathlib import Path

import pytest

from anysize.data.folders import walk
from anysize.data.formats import Listing, all_layouts, read_listing
from anysize.data.problems import FileProblem
from anysize.errors import LayoutError

_ACCEPTED = """arrange the data in one of these layouts:
  csv_masks           FILE.csv, or ROOT with one such file: columns path,mask[,split]
  csv_table           FILE.csv, or ROOT with one such file: columns path,label[,split] (train or val)
  voc                 ROOT/JPEGImages/1.jpg, ROOT/SegmentationClass/1.png, ROOT/ImageSets/Segmentation/train.txt
  cityscapes          ROOT/leftImg8bit/train/CITY/1_leftImg8bit.png, ROOT/gtFine/train/CITY/1_gtFine_labelIds.png
  ade20k              ROOT/images/training/ADE_train_1.jpg, ROOT/annotations/training/ADE_train_1.png
  mask_folders        ROOT/images/train/1.jpg, ROOT/masks/train/1.png (or train/images, train/masks; or no split)
  webdataset          FILE.tar, or ROOT with such shards, perhaps in train/ and val/: 1.jpg and 1.cls in each
  image_folder_split  ROOT/train/cat/1.jpg, ROOT/val/cat/2.jpg (val may be called valid or validation)
  image_folder        ROOT/cat/1.jpg, ROOT/dog/2.jpg (a folder for each class; the split is drawn)
  flat_folder         ROOT/1.jpg, ROOT/2.jpg (no labels: to plan and to predict)"""


def _tree(root: Path, *names: str) -> Path:
    """Empty files (or folders, where a name ends in a slash); listing opens none of them."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def _table(root: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_text(text, encoding=encoding)
    return root / name


def _refused(root: Path) -> tuple[str, str | None]:
    with pytest.raises(LayoutError) as caught:
        read_listing(root)
    return caught.value.message, caught.value.hint


def test_layouts_are_asked_in_this_order() -> None:
    assert [layout.name for layout in all_layouts()] == [
        "csv_masks",
        "csv_table",
        "voc",
        "cityscapes",
        "ade20k",
        "mask_folders",
        "webdataset",
        "image_folder_split",
        "image_folder",
        "flat_folder",
    ]


def test_image_folder(tmp_path: Path) -> None:
    _tree(tmp_path, "dog/2.JPG", "dog/deep/er/1.png", "cat/10.webp", "cat/9.tiff", "Zebra/a.gif")
    _tree(tmp_path, "dog/Thumbs.db", "dog/._2.jpg", ".git/x.png", "cat/.DS_Store", "desktop.ini")
    _tree(tmp_path, "cat/notes.txt", "cat/photo.HEIC", "README", "cover.png")
    assert read_listing(tmp_path) == Listing(
        layout="image_folder",
        root=tmp_path,
        paths=("Zebra/a.gif", "cat/10.webp", "cat/9.tiff", "dog/2.JPG", "dog/deep/er/1.png"),
        labels=(0, 1, 1, 2, 2),
        classes=("Zebra", "cat", "dog"),
        splits=(None,) * 5,
        ignored=(
            FileProblem("README", "no extension, so not taken for an image"),
            FileProblem("cover.png", "an image outside the class folders"),
            FileProblem("cat/notes.txt", ".txt is not an image's extension"),
            FileProblem("cat/photo.HEIC", ".heic files are not read; convert it to JPEG or PNG"),
        ),
    )


def test_empty_class_folders_are_an_error(tmp_path: Path) -> None:
    _tree(tmp_path, "cat/1.jpg", "cow/", "dog/")
    assert _refused(tmp_path) == (
        f"{tmp_path} has class folders without any image: cow, dog",
        "put images into each, or delete the empty folders",
    )


def test_class_folders_of_other_files_are_not_called_empty(tmp_path: Path) -> None:
    _tree(tmp_path, "cat/1.jpg", "cow/moo.wav", "cow/notes.txt", "dog/")
    assert _refused(tmp_path) == (
        f"{tmp_path} has class folders without any image: cow, dog; what they hold is not read: 2 files, the first "
        "cow/moo.wav: .wav is not an image's extension",
        "put images into each (JPEG, PNG or the like: what the files show, converted), or take the folders out of the "
        "data",
    )


def test_one_class_folder_is_an_error(tmp_path: Path) -> None:
    _tree(tmp_path, "images/1.jpg", "labels.csv")
    assert _refused(tmp_path) == (
        f"{tmp_path} has only one class folder (images); classes need two at least",
        f"give {tmp_path}/images itself to use its images without labels, or add a folder for each other class",
    )


def test_a_table_of_labels_with_other_columns_is_named(tmp_path: Path) -> None:
    _tree(tmp_path, "images/1.jpg", "images/2.jpg")
    (tmp_path / "labels.csv").write_text("file,name\n1.jpg,cat\n2.jpg,dog\n")
    assert _refused(tmp_path)[1] == (
        f"give {tmp_path}/images itself to use its images without labels, or add a folder for each other class; if "
        "labels.csv holds the labels, call the column of files path and that of classes label (its columns are file, "
        "name), and write paths like images/1.jpg"
    )
    (tmp_path / "labels.csv").write_text("path,label\nimages/1.jpg,cat\nimages/2.jpg,dog\n")
    assert read_listing(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_image_folder_split(tmp_path: Path, val: str) -> None:
    _tree(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "train/b/3.jpg", f"{val}/b/4.jpg", "test/a/5.jpg", "x.txt")
    assert read_listing(tmp_path) == Listing(
        layout="image_folder_split",
        root=tmp_path,
        paths=("train/a/1.jpg", "train/b/2.jpg", "train/b/3.jpg", f"{val}/b/4.jpg"),
        labels=(0, 1, 1, 1),
        classes=("a", "b"),
        splits=("train", "train", "train", "val"),
        ignored=(
            FileProblem("test", "a folder beside train/ and val/, not used for training"),
            FileProblem("x.txt", "a file beside train/ and val/"),
        ),
        notes=(f"{val}/ has no images of: a; how well they are learnt cannot be measured",),
    )


def test_train_alone_is_a_split_still_to_be_drawn(tmp_path: Path) -> None:
    listing = read_listing(_tree(tmp_path, "train/a/1.jpg", "train/b/2.jpg"))
    assert listing.layout == "image_folder_split"
    assert listing.splits == (None, None)
    assert listing.notes == (f"{tmp_path} has train/ but no val/: the validation images are drawn from train/",)


def test_train_may_be_a_class(tmp_path: Path) -> None:
    listing = read_listing(_tree(tmp_path, "train/1.jpg", "car/2.jpg", "plane/3.jpg"))
    assert (listing.layout, listing.classes) == ("image_folder", ("car", "plane", "train"))


def test_a_split_that_contradicts_itself(tmp_path: Path) -> None:
    _tree(tmp_path / "a", "train/cat/1.jpg", "val/cat/2.jpg", "val/cow/3.jpg", "val/dog/4.jpg")
    assert _refused(tmp_path / "a") == (
        f"{tmp_path}/a/val has classes that {tmp_path}/a/train has not: cow, dog",
        "add such images to train/, or take the class out of val/",
    )
    _tree(tmp_path / "b", "train/cat/1.jpg", "val/cat/2.jpg", "valid/cat/3.jpg")
    assert _refused(tmp_path / "b") == (
        f"{tmp_path}/b has several folders for validation: val, valid",
        "keep one of them; rename valid to test if it is held out",
    )
    _tree(tmp_path / "c", "train/1.jpg", "val/2.jpg")
    assert _refused(tmp_path / "c") == (
        f"{tmp_path}/c/train has no class folders",
        "sort its images into a folder for each class: train/cat/1.jpg, train/dog/2.jpg; or give "
        f"{tmp_path}/c/train itself to use its images without labels",
    )


def test_flat_folder(tmp_path: Path) -> None:
    _tree(tmp_path, "2.jpg", "1.png", "notes.md", "thumbnails/3.jpg")
    assert read_listing(tmp_path) == Listing(
        layout="flat_folder",
        root=tmp_path,
        paths=("1.png", "2.jpg"),
        labels=None,
        classes=(),
        splits=(None, None),
        ignored=(
            FileProblem("notes.md", ".md is not an image's extension"),
            FileProblem("thumbnails", "a folder, in a layout that takes only the images beside it"),
        ),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_table(tmp_path: Path, encoding: str) -> None:
    _tree(tmp_path, "a b.jpg", "deep/x,y.dat", "c.png")
    text = "Path,extra,Label,split\na b.jpg,1,cät,train\n"
    text += '"deep/x,y.dat",2,"d""og",val\n\n./c.png,3,"d""og",Train\n'
    file = _table(tmp_path, text, encoding=encoding)
    expected = Listing(
        layout="csv_table",
        root=tmp_path,
        paths=("a b.jpg", "deep/x,y.dat", "c.png"),
        labels=(0, 1, 1),
        classes=("cät", 'd"og'),
        splits=("train", "val", "train"),
        notes=("val has no images of: cät; how well they are learnt cannot be measured",),
    )
    assert read_listing(file) == expected
    assert read_listing(tmp_path) == expected


def test_csv_table_without_a_split(tmp_path: Path) -> None:
    _tree(tmp_path, "1.jpg", "2.jpg")
    assert read_listing(_table(tmp_path, "path,label\n1.jpg,x\n2.jpg,y\n")).splits == (None, None)


def test_missing_files_of_a_table_are_listed_all_at_once(tmp_path: Path) -> None:
    file = _table(tmp_path, "path,label\n" + "".join(f"{n}.jpg,x\n" for n in range(25)))
    message, hint = _refused(file)
    lines = message.splitlines()
    assert lines[0] == f"25 of 25 files that {file} names are missing:"
    assert lines[1] == "  0.jpg: no such file"
    assert lines[20:] == ["  19.jpg: no such file", "  ... and 5 more"]
    assert hint == f"paths are relative to {tmp_path}, with forward slashes; correct or delete these rows"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "file,class\n",
            "FILE needs the columns path and label, each once; its columns are: file, class",
            "make the first line: path,label or path,label,split",
        ),
        (
            "path;label\n",
            "FILE needs the columns path and label, each once; its columns are: path;label",
            "separate the columns by commas, not by ';': path,label or path,label,split",
        ),
        (
            "",
            "FILE needs the columns path and label, each once; its columns are: none, the file is empty",
            "make the first line: path,label or path,label,split",
        ),
        ("path,label\n", "FILE has a header but no rows", "add a row for each image: cat/1.jpg,cat"),
        (
            "path,label\na.jpg,x,y\n",
            "FILE, line 2 has 3 values; the header has 2 columns",
            "put quotes around values that hold a comma",
        ),
        (
            "path,label,split\na.jpg,x,train\na.jpg,x,val\n,x,train\nb.jpg,,train\nc.jpg,x,test\n",
            "FILE has 4 rows that cannot be used:\n"
            "  line 3: a.jpg is in line 2 already\n  line 4: the path is empty\n"
            "  line 5: the label is empty\n  line 6: the split is 'test', not train or val",
            "give every image one row, with a path, a label, and train or val if there is a split",
        ),
        (
            'path,label\n"a.jpg,x\n',
            "FILE is not a valid table: unexpected end of data",
            "close every quote, and double quotes within quotes",
        ),
        (
            "path,label,split\n1.jpg,x,train\n2.jpg,y,val\n",
            "FILE has labels that are in val but not in train: y",
            "move some of their rows to train, or delete them",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str, hint: str) -> None:
    _tree(tmp_path, "1.jpg", "2.jpg")
    file = _table(tmp_path, text)
    assert _refused(file) == (message.replace("FILE", str(file)), hint)


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    file = _table(tmp_path, "path,label\n1.jpg,cät\n", encoding="latin-1")
    assert _refused(file) == (
        f"{file} is not UTF-8 text: invalid continuation byte at byte 18",
        f"save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 {file} > new.csv",
    )


def test_two_tables_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        _table(tmp_path, "path,label\n", name)
    _table(tmp_path, "other,columns\n", "c.csv")
    assert _refused(tmp_path) == (
        f"{tmp_path} has several tables with the columns path and label: a.csv, b.csv",
        f"give the one that is meant: {tmp_path}/a.csv",
    )


def test_nothing_that_is_known(tmp_path: Path) -> None:
    _tree(tmp_path, "b/x.txt", "a/", "notes.txt", ".hidden")
    assert _refused(tmp_path) == (
        f"{tmp_path} is in no known layout; it holds 2 folders (a, b) and 1 file (notes.txt)",
        _ACCEPTED,
    )
    assert _refused(tmp_path / "a") == (
        f"{tmp_path}/a is in no known layout; it holds no folders and no files",
        _ACCEPTED,
    )
    assert _refused(tmp_path / "notes.txt") == (
        f"{tmp_path}/notes.txt is in no known layout; it holds no table: it is one file of 0 bytes, "
        "and only a .csv or .tar file can be given",
        _ACCEPTED,
    )
    assert _refused(tmp_path / "typo" / "x") == (
        f"there is no file or folder {tmp_path}/typo/x",
        f"{tmp_path} holds 2 folders (a, b) and 1 file (notes.txt)",
    )


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    _tree(tmp_path / "data", "a/1.jpg", "b/2.jpg")
    _tree(tmp_path, "elsewhere/3.jpg", "4.jpg")
    data = tmp_path / "data"
    (data / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (data / "a" / "4.jpg").symlink_to(tmp_path / "4.jpg")
    (data / "a" / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    (data / "b" / "circle").symlink_to(data)
    _tree(data, "a-b.jpg")  # sorted as a whole path: "-" comes before "/"
    found = walk(data)
    assert found.images == ["a-b.jpg", "a/1.jpg", "a/4.jpg", "a/gone.jpg", "a/linked/3.jpg", "b/2.jpg"]
    assert found.ignored == [FileProblem("b/circle", "a link to a folder that it lies in itself")]


def test_real_cats_and_dogs(real_data: Path) -> None:
    listing = read_listing(real_data / "cats_dogs")
    assert (listing.layout, listing.classes) == ("image_folder_split", ("cat", "dog"))
    assert (listing.splits.count("train"), listing.splits.count("val")) == (330, 110)
    assert [item.path for item in listing.ignored] == ["README.txt"]
