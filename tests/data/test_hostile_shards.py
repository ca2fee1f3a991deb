"""Shards that somebody else made: what they claim is checked, and nothing of them is used in silence."""

import io
import os
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from anysize.data import DataOptions, ImageDataset, load_data
from anysize.data.problems import FileProblem
from anysize.data.shards.tar import TarError, read_members
from anysize.errors import AnysizeError, DataError, LayoutError, UnreadableImagesError

_ALL = DataOptions(val_split=0)
_MAGIC = b"ANYSIZE SHARDS\n\0"


def _picture(height: int = 8, width: int = 8, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (9, 8, 7)).save(stream, kind)
    return stream.getvalue()


def _write(path: Path, members: Sequence[tuple[str, bytes]], tar_format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format, encoding="utf-8", errors="surrogateescape") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _samples(labels: Sequence[str] = ("a", "b") * 3) -> list[tuple[str, bytes]]:
    return [
        item
        for n, label in enumerate(labels)
        for item in ((f"{n}.png", _picture(8, n + 1)), (f"{n}.cls", label.encode()))
    ]


def _refused(root: Path, error: type[AnysizeError] = LayoutError) -> tuple[str, str | None]:
    with pytest.raises(error) as caught:
        load_data(root, _ALL)
    return caught.value.message, caught.value.hint


def test_held_out_shards_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("x-train-0.tar", "x-train-1.tar", "x-test-0.tar"):
        _write(tmp_path / name, _samples())
    source = load_data(tmp_path, DataOptions(val_split=0.5))
    assert source.val is not None
    used = {name.split("/")[0] for name in (*source.train.paths, *source.val.paths)}
    assert used == {"x-train-0.tar", "x-train-1.tar"}
    assert not source.has_own_split
    assert source.ignored == (FileProblem("x-test-0.tar", "a shard of test, not used for training"),)
    assert source.notes == (
        f"the shards in {tmp_path} are named train and none val: the validation images are drawn from train",
    )


def test_names_that_do_not_say_what_all_shards_are(tmp_path: Path) -> None:
    hint = "put train or val into the name of every shard, or give the folder of those that are meant"
    for root, first, word in ((tmp_path / "a", "x-test-0.tar", "test"), (tmp_path / "b", "x-train-0.tar", "train")):
        _write(root / first, _samples())
        _write(root / "other.tar", _samples())
        assert _refused(root) == (
            f"some names of the shards in {root} say {word}, and it is unclear what the others are: other.tar",
            hint,
        )
    # Nothing but held-out shards was asked for by name: to evaluate on them, say.
    _write(tmp_path / "c" / "x-test-0.tar", _samples())
    source = load_data(tmp_path / "c", _ALL)
    assert len(source.train) == 6
    assert source.notes[0] == f"the names of all shards in {tmp_path}/c say test, and they are used all the same"
    # The data set may be called test.
    _write(tmp_path / "d" / "test-train-0.tar", _samples())
    assert load_data(tmp_path / "d", _ALL).ignored == ()


def test_a_class_that_only_val_has(tmp_path: Path) -> None:
    for root, train, val in (("folders", "train/a.tar", "val/a.tar"), ("names", "x-train.tar", "x-val.tar")):
        _write(tmp_path / root / train, _samples(["0", "1", "1"]))
        _write(tmp_path / root / val, _samples(["0", "2"]))
        for classes in (None, "cat\ndog\nemu\n"):
            if classes is not None:
                (tmp_path / root / "classes.txt").write_text(classes)
            assert _refused(tmp_path / root) == (
                f"the shards of val have classes that those of train have not: {'2' if classes is None else 'emu'}",
                "add such images to train, or take them out of val",
            )


@pytest.mark.parametrize(
    "content",
    [
        _MAGIC + (2**63).to_bytes(8, "little"),
        _MAGIC + (2**62).to_bytes(8, "little") + bytes(64),
        _MAGIC + (200_000).to_bytes(8, "little") + b"[" * 200_000,
        _MAGIC[:7],
    ],
)
def test_a_hostile_index_is_made_anew(tmp_path: Path, content: bytes) -> None:
    _write(tmp_path / "s.tar", _samples())
    (tmp_path / ".anysize-index").write_bytes(content)
    assert len(load_data(tmp_path, _ALL).train) == 6
    assert (tmp_path / ".anysize-index").read_bytes().startswith(_MAGIC)


@pytest.mark.parametrize("field", ["num_bytes", "mtime_ns", "num_images", "max_image_pixels"])
def test_infinite_numbers_in_the_index(tmp_path: Path, field: str) -> None:
    _write(tmp_path / "s.tar", _samples())
    load_data(tmp_path, _ALL)
    path = tmp_path / ".anysize-index"
    whole = path.read_bytes()
    start = whole.index(f'"{field}": '.encode()) + len(field) + 4
    end = min(whole.index(mark, start) for mark in b",}" if mark in whole[start:])
    for value in (b"Infinity", b"-Infinity", b"NaN", b"1e999"):
        head = whole[24:start] + value + whole[end : whole.rindex(b"}") + 1]
        path.write_bytes(_MAGIC + len(head).to_bytes(8, "little") + head)
        assert len(load_data(tmp_path, _ALL).train) == 6
        assert path.read_bytes() == whole


def test_a_dangling_link_to_a_shard(tmp_path: Path) -> None:
    _write(tmp_path / "s.tar", _samples())
    (tmp_path / "t.tar").symlink_to("/nowhere/t.tar")
    assert _refused(tmp_path, DataError) == (
        f"the shard {tmp_path}/t.tar cannot be opened",
        "does the link point to a file?",
    )
    (tmp_path / "t.tar").unlink()
    (tmp_path / "t.tar").mkdir()
    assert load_data(tmp_path, _ALL).ignored == (FileProblem("t.tar", "a folder beside the shards"),)


def test_pixels_that_change_under_the_same_stamp(tmp_path: Path) -> None:
    path = _write(tmp_path / "a b.tar", [("0.bmp", _picture(40, 20, "BMP")), ("0.cls", b"1")])
    load_data(tmp_path, _ALL)
    before = path.stat()
    _write(path, [("0.bmp", _picture(20, 40, "BMP")), ("0.cls", b"1")])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError) as caught:
        ImageDataset(load_data(tmp_path, _ALL).train, 3).load(0)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f": touch '{path}', or delete {tmp_path}/.anysize-index")
    path.touch()
    assert ImageDataset(load_data(tmp_path, _ALL).train, 3).load(0).shape == (20, 40, 3)


@pytest.mark.parametrize("label", ["²", "٣"])
def test_digits_that_are_not_ascii(tmp_path: Path, label: str) -> None:
    _write(tmp_path / "s.tar", _samples([label, "1"]))
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    assert _refused(tmp_path)[0] == (
        f"the shards have labels that {tmp_path}/classes.txt does not know: {label}; it has 4 names"
    )
    (tmp_path / "classes.txt").write_text(f"1\n{label}\n", encoding="utf-8")
    assert load_data(tmp_path, _ALL).classes == ("1", label)


def _extended(content: bytes, kind: bytes = b"x") -> bytes:
    info = tarfile.TarInfo("p")
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def _plain(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def _names(content: bytes) -> list[str]:
    return [member.name for member in read_members(io.BytesIO(content), len(content))]


def test_long_extended_headers_take_no_longer_than_their_length(tmp_path: Path) -> None:
    tail = _plain("0.txt", b"1") + bytes(1024)
    content = _extended(b"16 path=a.txt\xc3\xa4\n" + b"6 a=b\n" * 170_000) + tail
    start = time.process_time()
    assert _names(content) == ["a.txtä"]
    assert time.process_time() - start < 2, "copying what is left for each field took 9 seconds"
    for kind in (b"x", b"L", b"g"):
        with pytest.raises(TarError, match=r"^damaged: an extended header of 1,048,577 bytes at byte 0$"):
            _names(_extended(b"6 a=b\n" * 174_762 + b"65537", kind) + tail)
    assert _names(_extended(b"6 a=b\n") * 16 + tail) == ["0.txt"]
    with pytest.raises(TarError, match=r"^damaged: more than 16 extended headers before the member at byte 0$"):
        _names(_extended(b"6 a=b\n") * 17 + tail)


@pytest.mark.parametrize(
    "content", [b"6 a=b", b"7 a=b\n", b"6 a-b\n", b"0 a=b\n", b"a=b\n", b"6 a=b\n6", b"6 a=b\n\0\0", b"\xb2 a=b\n"]
)
def test_extended_headers_that_are_damaged(content: bytes) -> None:
    with pytest.raises(TarError, match=r"^damaged: an extended header before byte 1,024 cannot be read$"):
        _names(_extended(content) + _plain("0.txt", b"1") + bytes(1024))


def test_a_side_that_is_too_long_for_the_index(tmp_path: Path) -> None:
    members = [("a.png", _picture(1, 65_535)), ("a.cls", b"0"), ("b.png", _picture(65_536, 1)), ("b.cls", b"0")]
    _write(tmp_path / "s.tar", members)
    assert _refused(tmp_path, UnreadableImagesError)[0] == (
        "1 of 2 images cannot be read:\n  s.tar/b.png: the image is 65536x1 (height x width); in shards no side may be "
        "above 65,535"
    )
    skipped = load_data(tmp_path, DataOptions(val_split=0, skip_unreadable=True))
    assert skipped.train.sizes.tolist() == [[1, 65_535]]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_are_no_text(tmp_path: Path, tar_format: int) -> None:
    shard = os.fsdecode(b"s\xff.tar")
    names = [os.fsdecode(raw) for raw in (b"\xe4\xff/1", b"caf\xe9", b"\xf0\x28" * 40)]
    members = []
    for n, name in enumerate(names):
        members += [(f"{name}.png", _picture(3, n + 1)), (f"{name}.cls", b"1")]
    members.insert(4, (f"{names[1]}.txt", b""))
    _write(tmp_path / "in" / shard, members, tar_format)
    for _ in range(2):  # new, and known
        source = load_data(tmp_path / "in", _ALL)
        assert list(source.train.paths) == [f"{shard}/{name}.png" for name in names]
        dataset = ImageDataset(source.train, 3)
        assert [dataset.load(n).shape for n in range(3)] == [(3, n + 1, 3) for n in range(3)]
    assert list(map(str, source.ignored)) == [r"s\udcff.tar/caf\udce9.txt: .txt is neither an image nor a label"]
