"""From a folder to tables: every file is accounted for, and faults come in one error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data.images import read_image
from anysize.data.index import SizeIndex
from anysize.data.problems import FileProblem
from anysize.data.source import DataOptions, check_source, list_images, load_data
from anysize.data.table import ImageTable
from anysize.errors import DataError, UnreadableImagesError, UsageError


def _classes(make_image, count: int = 10) -> None:
    for n in range(count):
        for name in ("cat", "dog"):
            make_image(f"data/{name}/{n}.png", (5 + n, 9), seed=n)


def test_a_folder_is_split(make_image, tmp_path: Path) -> None:
    _classes(make_image)
    make_image("data/dog/grey.png", (3, 4), mode="L")
    (tmp_path / "data" / "dog" / "x.txt").touch()
    source = load_data(tmp_path / "data", DataOptions(val_split=0.3))
    assert (source.root, source.layout, source.classes) == (tmp_path / "data", "image_folder", ("cat", "dog"))
    assert source.val is not None
    assert (len(source.train), len(source.val)) == (15, 6)
    both = [*zip(source.train.paths, source.train.sizes.tolist(), source.train.channels.tolist(), strict=True)]
    both += zip(source.val.paths, source.val.sizes.tolist(), source.val.channels.tolist(), strict=True)
    expected = [(f"{name}/{n}.png", [5 + n, 9], 3) for n in range(10) for name in ("cat", "dog")]
    assert sorted(both) == sorted([*expected, ("dog/grey.png", [3, 4], 1)])
    for table in (source.train, source.val):
        assert table.labels is not None
        assert table.labels.tolist() == [int(path.startswith("dog")) for path in table.paths]
        assert (table.sizes.dtype, table.labels.dtype, table.channels.dtype) == (np.int64, np.int64, np.int8)
    assert source.ignored == (FileProblem("dog/x.txt", ".txt is not an image's extension"),)
    assert source.problems == source.notes == ()


def test_no_validation_share(make_image, tmp_path: Path) -> None:
    _classes(make_image, 2)
    source = load_data(tmp_path / "data", DataOptions(val_split=0))
    assert source.val is None
    assert len(source.train) == 4
    assert source.notes == ("val_split is 0: every image is trained on, and nothing is validated",)


def test_a_class_of_one_image_and_an_animation_are_noted(make_image, tmp_path: Path) -> None:
    _classes(make_image, 2)
    make_image("data/emu/1.png")
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "lime")]
    frames[0].save(tmp_path / "data" / "cat" / "x.gif", save_all=True, append_images=frames[1:])
    assert load_data(tmp_path / "data", DataOptions()).notes == (
        "1 of the files hold several frames or pages: only the first of each is used",
        "classes of a single image, which stays in training: emu",
    )


def test_unlabelled_images(make_image, tmp_path: Path) -> None:
    make_image("data/1.png", (3, 4))
    source = load_data(tmp_path / "data", DataOptions())
    assert (source.classes, source.val, source.train.labels) == ((), None, None)
    assert source.train.sizes.tolist() == [[3, 4]]


def test_unreadable_files_come_in_one_error(make_image, tmp_path: Path) -> None:
    _classes(make_image)
    (tmp_path / "data" / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "data" / "dog" / "b.jpg").write_bytes(b"no image")
    with pytest.raises(UnreadableImagesError) as caught:
        load_data(tmp_path / "data", DataOptions())
    assert str(caught.value) == (
        "2 of 22 images cannot be read:\n"
        "  cat/a.png: the file is empty (0 bytes)\n"
        "  dog/b.jpg: no JPEG, PNG, WEBP, TIFF, BMP, GIF or PPM image, or its header is damaged\n"
        "hint: --skip-unreadable leaves them out and lists every one; or repair or delete the files"
    )
    source = load_data(tmp_path / "data", DataOptions(skip_unreadable=True))
    assert [problem.path for problem in source.problems] == ["cat/a.png", "dog/b.jpg"]
    assert source.val is not None
    assert len(source.train) + len(source.val) == 20


def test_a_class_that_loses_all_its_images_is_an_error(make_image, tmp_path: Path) -> None:
    _classes(make_image, 2)
    (tmp_path / "data" / "emu").mkdir()
    (tmp_path / "data" / "emu" / "1.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_data(tmp_path / "data", DataOptions(skip_unreadable=True))
    assert str(caught.value) == (
        "no readable image to train on is left of: emu\n  emu/1.png: the file is empty (0 bytes)\n"
        "hint: repair the files, or leave the classes out"
    )


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(UnreadableImagesError) as caught:
        load_data(tmp_path, DataOptions(skip_unreadable=True))
    assert str(caught.value) == (
        "1 of 1 images cannot be read:\n  1.png: the file is empty (0 bytes)\n"
        "hint: convert them to JPEG or PNG; no image would be left without them"
    )


def test_the_check_drops_or_raises_and_measures_the_training_images(make_image, tmp_path: Path) -> None:
    _classes(make_image)
    cut = make_image("data/cat/cut.jpg", (64, 64))
    cut.write_bytes(cut.read_bytes()[:-400])
    source = load_data(tmp_path / "data", DataOptions())
    with pytest.raises(
        UnreadableImagesError, match=r"^1 of 21 images cannot be read:\n  cat/cut.jpg: cannot be decoded"
    ):
        check_source(source, 3, DataOptions())
    checked = check_source(source, 3, DataOptions(skip_unreadable=True))
    assert [problem.path for problem in checked.source.problems] == ["cat/cut.jpg"]
    assert checked.source.val is not None
    names = [*checked.source.train.paths, *checked.source.val.paths]
    assert len(names) == 20
    assert "cat/cut.jpg" not in names
    train = checked.source.train
    pixels = np.concatenate([read_image(train.root / path, 3).reshape(-1, 3) for path in train.paths])
    np.testing.assert_allclose(checked.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(checked.std, pixels.std(axis=0), rtol=1e-12)


def test_a_given_index_is_used_and_left_open(make_image, tmp_path: Path, monkeypatch) -> None:
    _classes(make_image)
    with SizeIndex(tmp_path / "my.sqlite") as index:
        source = load_data(tmp_path / "data", DataOptions(), index=index)
        check_source(source, 1, DataOptions(), index=index)
        monkeypatch.delattr("anysize.data.images.read_header")
        monkeypatch.delattr("anysize.data.images.read_with_remark")
        assert load_data(tmp_path / "data", DataOptions(), index=index).train.paths == source.train.paths
        check_source(source, 1, DataOptions(), index=index)


def test_files_and_folders_to_predict(make_image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image("photos/a/1.png", (3, 4))
    make_image("photos/2.png", (5, 6))
    odd = make_image("3.png", (7, 8)).rename(tmp_path / "3.download")
    (tmp_path / "photos" / "x.txt").touch()
    monkeypatch.chdir(tmp_path)
    found = list_images([odd, Path("photos"), Path("photos/2.png")])
    assert found.table.paths == (str(odd), "photos/2.png", "photos/a/1.png")
    assert found.table.sizes.tolist() == [[7, 8], [5, 6], [3, 4]]
    assert found.ignored == (FileProblem("photos/x.txt", ".txt is not an image's extension"),)
    with pytest.raises(DataError) as caught:
        list_images([Path("none.png"), Path("photos")])
    assert str(caught.value) == (
        "1 of 2 paths do not exist:\n  none.png: no such file or folder\n"
        "hint: check their spelling, and the folder that the command is run in"
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^no image was found in: empty\nhint: give image files, or folders"):
        list_images([Path("empty")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"val_split": 1.0},
            "val_split is 1.0; it must be at least 0 and below 1\n"
            "hint: val_split=0.2 keeps a fifth of each class for validation",
        ),
        ({"workers": 0}, "workers is 0; it must be 1 or more\nhint: leave out workers for the default"),
    ],
)
def test_options_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        DataOptions(**values)
    assert str(caught.value) == message


def test_real_cats_and_dogs(real_data: Path) -> None:
    source = load_data(real_data / "cats_dogs", DataOptions())
    assert source.val is not None
    assert (len(source.train), len(source.val)) == (330, 110)
    sizes = np.concatenate([source.train.sizes, source.val.sizes])
    assert len(np.unique(sizes, axis=0)) == 289
    assert (sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()) == ([89, 98], [500, 500])


def _small_table() -> ImageTable:
    return ImageTable(
        Path("root"),
        ("a", "b", "c"),
        np.array([0, 1, 0]),
        np.array([[1, 2], [3, 4], [5, 6]]),
        np.array([3, 1, 3], np.int8),
    )


def test_rows_are_selected_by_mask_and_by_index() -> None:
    table = _small_table()
    for which in (np.array([False, True, True]), [1, 2]):
        part = table.select(which)
        assert part.paths == ("b", "c")
        assert part.labels is not None
        assert (part.labels.tolist(), part.sizes.tolist(), part.channels.tolist()) == (
            [1, 0],
            [[3, 4], [5, 6]],
            [1, 3],
        )
    assert table.select([2, 0]).paths == ("c", "a")
    assert len(table.select([])) == 0
    with pytest.raises(UsageError, match=r"^a mask of shape \(2,\) for a table of 3 images$"):
        table.select(np.array([True, False]))
    with pytest.raises(UsageError, match=r"^indices -1..0 for a table of 3 images$"):
        table.select([-1, 0])
    with pytest.raises(UsageError, match=r"^a table of 1 paths got sizes, channels and labels of shapes "):
        ImageTable(Path(), ("a",), None, np.ones((2, 2), np.int64), np.ones(1, np.int8))
