"""The index reads a file once, and again when it has changed; a bad cache never stands in the way."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
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

        def counted(path: Path | str, *args: object, original=original, **kwargs: object) -> object:
            names.append(Path(path).name)
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
    os.utime(broken, (1e9, 1e9))
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


def test_a_cache_of_another_format_is_emptied(make_image, tmp_path, reads) -> None:
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


def test_more_files_than_one_query_takes(make_image, tmp_path, reads) -> None:
    first, second = make_image("first.png", (3, 4)), make_image("second.png", (5, 6))
    paths = [tmp_path / f"{n}.png" for n in range(1100)]
    for n, path in enumerate(paths):
        path.hardlink_to(first if n % 2 else second)
    expected = [ImageHeader(*((3, 4) if n % 2 else (5, 6)), 3, 1, "PNG") for n in range(1100)]
    with SizeIndex(tmp_path / "index.sqlite") as index:
        assert index.scan([str(path) for path in paths]) == expected
        assert len(reads) == 1100
        reads.clear()
        assert index.scan(paths) == expected, "known by any spelling"
        assert reads == []


_SLOW_SCAN = """
import signal, sys, time
from pathlib import Path
from anysize.data import SizeIndex, images, index
signal.signal(signal.SIGINT, signal.default_int_handler)
index._STORE_SECONDS = 0.1
original = images.read_header
def slow(path, **options):
    time.sleep(0.002)
    return original(path, **options)
images.read_header = slow
folder = Path(sys.argv[1])
with SizeIndex(folder / "index.sqlite") as known:
    known.scan(sorted(folder.glob("*.png")), workers=1, progress=lambda done, total: print(done, total, flush=True))
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_scan_goes_on_where_it_stopped(make_image, tmp_path, reads, sign) -> None:
    paths = [make_image(f"{n:03}.png", (3, 4)) for n in range(900)]
    child = subprocess.Popen(
        [sys.executable, "-c", _SLOW_SCAN, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout is not None
        done = total = 0
        while done == 0:  # on a busy machine half a second may pass before the first are read
            line = child.stdout.readline()
            assert line, "it is told of"
            done, total = map(int, line.split())
    finally:
        child.send_signal(sign)
        child.communicate()
    assert child.returncode != 0
    assert 0 < done < total == 900
    with SizeIndex(tmp_path / "index.sqlite") as index:
        assert index.scan(paths) == [ImageHeader(3, 4, 3, 1, "PNG")] * 900
    assert len(reads) <= 900 - done // 2, "what was told as done is known, but for the last moment"
    assert len(reads) >= 900 - done - 400


def test_progress_is_told_every_half_second(make_image, tmp_path, monkeypatch) -> None:
    original = images.read_header

    def slow(path: Path | str, **options: int) -> ImageHeader:
        time.sleep(0.7 if Path(path).name == "0.png" else 0)
        return original(path, **options)

    monkeypatch.setattr(images, "read_header", slow)
    paths = [make_image(f"{n}.png") for n in range(3)]
    told: list[tuple[int, int]] = []
    with SizeIndex(tmp_path / "index.sqlite") as index:
        index.scan(paths, workers=1, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 3), "also while one file takes long"
    assert told[-1] == (3, 3)
