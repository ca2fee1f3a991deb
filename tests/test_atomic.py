"""Files are whole or as they were."""

import os
from pathlib import Path

import pytest

from anysize.atomic import atomic_path, write_text


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def half() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_folders_are_made_and_the_ending_is_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new" / "b.png") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path / "new", ".png")
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b.png"]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(0o027) == 0o027, "the umask was changed"
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_text_is_utf8_and_file_names_of_any_bytes_survive(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Größe " + os.fsdecode(b"\xff"))
    assert (tmp_path / "a.txt").read_bytes() == "Größe ".encode() + b"\xff"
