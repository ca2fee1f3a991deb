"""An entry of the index holds for one file, as it was, under one version of Pillow; and no stamp stops a scan."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from anysize.data import DataOptions, ImageDataset, SizeIndex, cache, images, load_data
from anysize.data.images import ImageHeader
from anysize.errors import DataError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files whose header is read."""
    names: list[str] = []
    original = images.read_header

    def counted(path: Path | str, **options: int) -> ImageHeader:
        names.append(Path(path).name)
        return original(path, **options)

    monkeypatch.setattr(images, "read_header", counted)
    return names


def _rewritten(path: Path, make_image, size: tuple[int, int]) -> None:
    """Other pixels under the same stamp: as a tool writes them that turns pictures and keeps their times."""
    before = path.stat()
    make_image(path.name, size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_pixels_that_change_under_the_same_stamp(make_image, tmp_path) -> None:
    path = make_image("a.bmp", (40, 20))
    make_image("b.bmp", (40, 20))
    load_data(tmp_path, DataOptions())
    _rewritten(path, make_image, (20, 40))
    with pytest.raises(DataError) as caught:
        ImageDataset(load_data(tmp_path, DataOptions()).train, 3).load(0)
    assert str(caught.value) == (
        f"image {path} is 20x40 (height x width); it was 40x20 when the folder was scanned, "
        "and the plan rests on that\n"
        "hint: do not change images during a run; start again: the folder is then scanned anew; if this comes back, "
        f"the file was changed without its time of modification: touch {path}, or delete "
        f"{os.environ['ANYSIZE_CACHE']}/index.sqlite"
    )
    path.touch()
    assert ImageDataset(load_data(tmp_path, DataOptions()).train, 3).load(0).shape == (20, 40, 3)


def test_what_was_written_a_moment_ago_is_read_again(make_image, tmp_path, reads) -> None:
    """The same stamp may be that of a second write, within the resolution of the clock of a file system."""
    path, database = make_image("a.bmp", (40, 20)), tmp_path / "index.sqlite"
    os.utime(path)
    with SizeIndex(database) as index:
        assert index.scan([path]) == [ImageHeader(40, 20, 3, 1, "BMP")]
        _rewritten(path, make_image, (20, 40))
        assert index.scan([path]) == [ImageHeader(20, 40, 3, 1, "BMP")]
        for seconds in (-3600, 3600):  # a clock that goes wrong must not cost a scan each time
            os.utime(path, (time.time() + seconds,) * 2)
            index.scan([path])
            reads.clear()
            index.scan([path])
            assert reads == []


@pytest.mark.parametrize("seconds", [10**10, -(2**31)])
def test_times_beyond_the_range_of_sqlite(make_image, tmp_path, reads, seconds: int) -> None:
    path, other = make_image("a.png", (3, 4)), make_image("b.png", (3, 4))
    os.utime(path, (seconds, seconds))
    if path.stat().st_mtime_ns != seconds * 10**9:
        pytest.skip("this file system cannot keep such a time")
    for _ in range(2):
        with SizeIndex(tmp_path / "index.sqlite") as index:
            assert index.scan([path, other]) == [ImageHeader(3, 4, 3, 1, "PNG")] * 2
            assert index.notes == ()
    assert reads.count("b.png") == 1, "the others are known"
    assert reads.count("a.png") == (2 if seconds > 2**63 // 10**9 else 1)


def test_two_versions_of_pillow_share_the_file(make_image, tmp_path, reads, monkeypatch: pytest.MonkeyPatch) -> None:
    path, database = make_image("a.png", (3, 4)), tmp_path / "index.sqlite"
    with SizeIndex(database) as ours:
        ours.scan([path])
        monkeypatch.setattr(cache, "_VERSION", "pillow 1.0")
        with SizeIndex(database) as theirs:
            assert theirs.scan([path]) == [ImageHeader(3, 4, 3, 1, "PNG")]
            assert reads == ["a.png"] * 2, "what another version has read is not trusted"
        monkeypatch.undo()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (2,)
    connection.close()


def test_each_version_of_pillow_keeps_its_entries(make_image, tmp_path, reads, monkeypatch: pytest.MonkeyPatch) -> None:
    path, database = make_image("a.png", (3, 4)), tmp_path / "index.sqlite"
    for version in ("pillow 1.0", "pillow 2.0"):
        monkeypatch.setattr(cache, "_VERSION", version)
        with SizeIndex(database) as index:
            index.scan([path])
    reads.clear()
    for version in ("pillow 1.0", "pillow 2.0"):
        monkeypatch.setattr(cache, "_VERSION", version)
        with SizeIndex(database) as index:
            index.scan([path])
            assert index.notes == ()
    assert reads == []
