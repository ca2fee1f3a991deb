"""The index reads a file once, and again when it has changed; a bad cache never stands in the way."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data import images
from anysize.data.images import ImageHeader
from anysize.data.index import SizeIndex
from anysize.data.problems import FileProblem


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that are opened, header or pixels."""
    names: list[str] = []
    for function in ("read_header", "read_with_remark"):
        original = getattr(images, function)

        def counted(path: Path, *args: object, original=original, **kwargs: object) -> object:
            names.append(path.name)
            return original(path, *args, **kwargs)

        monkeypatch.setattr(images, function, counted)
    return names


def test_unchanged_files_are_not_read_again_and_changed_ones_are(make_image, tmp_path, reads) -> None:
    paths = [make_image(f"{n}.png", (5 + n, 9)) for n in range(4)]
    database = tmp_path / "index.sqlite"
    with SizeIndex(database) as index:
        first = index.scan(paths)
    assert sorted(reads) == ["0.png", "1.png", "2.png", "3.png"]
    assert first == [ImageHeader(5 + n, 9, 3, 1, "PNG") for n in range(4)]
    reads.clear()
    with SizeIndex(database) as index:
        assert index.scan(paths) == first
        assert reads == []
        make_image("2.png", (31, 7))
        assert index.scan(paths)[2] == ImageHeader(31, 7, 3, 1, "PNG")
        assert reads == ["2.png"]
        reads.clear()
        status = paths[1].stat()
        os.utime(paths[1], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        index.scan(paths)
        assert reads == ["1.png"]


def test_checks_are_remembered_apart_from_headers(make_image, tmp_path, reads) -> None:
    paths = [make_image(f"{n}.png") for n in range(2)]
    with SizeIndex(tmp_path / "index.sqlite") as index:
        index.scan(paths)
        reads.clear()
        first = index.check(paths)
        assert sorted(reads) == ["0.png", "1.png"]
    with SizeIndex(tmp_path / "index.sqlite") as index:
        assert index.check(paths) == first
    assert len(reads) == 2


def test_results_come_in_order_whatever_the_number_of_workers(make_image, tmp_path) -> None:
    paths = [make_image(f"{n}.png", (1 + n % 7, 1 + n)) for n in range(40)] * 2
    told: list[tuple[int, int]] = []
    with SizeIndex(tmp_path / "a.sqlite") as one, SizeIndex(tmp_path / "b.sqlite") as many:
        expected = one.scan(paths, workers=1, progress=lambda done, total: told.append((done, total)))
        assert many.scan(paths, workers=8) == expected
    assert [header.width for header in expected if isinstance(header, ImageHeader)] == [*range(1, 41)] * 2
    assert told == [(80, 80)]


def test_content_failures_are_remembered_and_others_are_not(make_image, tmp_path, reads) -> None:
    broken, big = tmp_path / "broken.png", make_image("big.png", (10, 10))
    broken.write_bytes(b"no image")
    with SizeIndex(tmp_path / "index.sqlite") as index:
        first = index.scan([broken, big], max_image_pixels=99)
        assert [type(item) for item in first] == [FileProblem, FileProblem]
        reads.clear()
        assert index.scan([broken, big], max_image_pixels=99) == first
        assert reads == ["big.png"]
        assert index.scan([big]) == [ImageHeader(10, 10, 3, 1, "PNG")]
        reads.clear()
        assert index.scan([big], max_image_pixels=99) == first[1:], "the cap holds for known headers too"
        assert reads == []


def test_an_unusable_cache_folder_is_done_without(make_image, tmp_path, reads) -> None:
    path = make_image("x.png")
    with SizeIndex(path / "index.sqlite") as index:  # a folder that is a file cannot be made, even by root
        for _ in range(2):
            assert index.scan([path]) == [ImageHeader(12, 17, 3, 1, "PNG")]
        assert len(index.notes) == 1
        assert index.notes[0].startswith(f"the image index {path}/index.sqlite cannot be used (")
        assert index.notes[0].endswith(
            "): every file is read again each time; set ANYSIZE_CACHE to a folder that can be written"
        )
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"this is no database " * 100, None])
def test_a_damaged_cache_is_built_anew(make_image, tmp_path, reads, content) -> None:
    path, database = make_image("x.png"), tmp_path / "index.sqlite"
    if content is None:  # a database, of another shape
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE entries (x)")
        connection.close()
    else:
        database.write_bytes(content)
    with SizeIndex(database) as index:
        assert index.scan([path]) == [ImageHeader(12, 17, 3, 1, "PNG")]
        assert len(index.notes) == 1
        assert "was damaged (" in index.notes[0]
        assert index.notes[0].endswith(") and is built anew")
    with SizeIndex(database) as index:
        index.scan([path])
        assert index.notes == ()
    assert reads == ["x.png"]


def test_a_cache_of_another_version_is_emptied(make_image, tmp_path, reads) -> None:
    path, database = make_image("x.png"), tmp_path / "index.sqlite"
    with SizeIndex(database) as index:
        index.scan([path])
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE meta SET version = '0'")
    connection.close()
    with SizeIndex(database) as index:
        index.scan([path])
        assert index.notes == ()
    assert reads == ["x.png", "x.png"]


def test_names_that_are_no_text(make_image, tmp_path) -> None:
    path = make_image("x.png").rename(tmp_path / os.fsdecode(b"a\xff\n.png"))
    with SizeIndex(tmp_path / "index.sqlite") as index:
        assert index.scan([path]) == index.scan([path]) == [ImageHeader(12, 17, 3, 1, "PNG")]
    assert str(FileProblem(path.name, "bad")) == r"a\udcff\n.png: bad"


def test_the_statistics_are_those_of_the_pixels(make_image, tmp_path) -> None:
    path = make_image("x.png", (40, 30))
    with SizeIndex(tmp_path / "index.sqlite") as index:
        check = index.check([path])[0]
    assert not isinstance(check, FileProblem)
    for channels in (1, 3):
        pixels = images.read_image(path, channels).reshape(-1, channels).astype(np.float64)
        stats = check.stats(channels)
        np.testing.assert_allclose(stats.mean(), pixels.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(stats.std(), pixels.std(axis=0), rtol=1e-12)


def test_the_scan_opens_no_pixels(tmp_path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:60])  # the header and nothing else
    with SizeIndex(tmp_path / "index.sqlite") as index:
        assert index.scan([path]) == [ImageHeader(64, 64, 3, 1, "PNG")]
