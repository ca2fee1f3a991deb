"""Shards: what folders give, read where it lies; damage is told, and nothing is ever extracted."""

import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data import DataOptions, ImageDataset, check_source, load_data, read_image
from anysize.data.images import EXTENSIONS
from anysize.data.problems import FileProblem
from anysize.data.shards import ShardPaths, build, open_side_index
from anysize.data.shards.samples import RECORD
from anysize.data.shards.side_index import read_side_index
from anysize.data.shards.tar import TarError, read_members
from anysize.errors import DataError, LayoutError, UnreadableImagesError, UsageError

_ALL = DataOptions(val_split=0)


def _picture(size: tuple[int, int], *, seed: int = 0, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind)
    return stream.getvalue()


def _write(path: Path, members: Sequence[tuple[str, bytes]], tar_format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _samples(first: int, count: int) -> list[tuple[str, bytes]]:
    """Labelled by turns cat and dog; image n is n + 1 pixels wide."""
    members = []
    for n in range(first, first + count):
        members += [(f"{n:04}.jpg", _picture((8, n + 1), seed=n)), (f"{n:04}.cls", b"cat" if n % 2 else b"dog")]
    return members


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of four images each."""
    for k in range(3):
        _write(tmp_path / "shards" / f"s-{k}.tar", _samples(4 * k, 4))
    return tmp_path / "shards"


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that are read to index them."""
    names: list[str] = []
    original = build.scan_shard

    def counted(path: Path, **options: object) -> object:
        names.append(path.name)
        return original(path, **options)

    monkeypatch.setattr(build, "scan_shard", counted)
    return names


def _refused(root: Path, error: type[DataError] = LayoutError) -> tuple[str, str | None]:
    with pytest.raises(error) as caught:
        load_data(root, _ALL)
    return caught.value.message, caught.value.hint


def test_shards_give_what_the_files_give(make_image, tmp_path: Path) -> None:
    names = [f"{label}/{n}{end}" for n, end in enumerate(sorted(EXTENSIONS - {".tif", ".dib"})) for label in ("a", "b")]
    for n, name in enumerate(names):
        make_image(f"files/{name}", (5 + n, 60 - n), seed=n)
    members = []
    for name in sorted(names):
        label, base = name.split("/")
        members += [(f"{label}_{base}", (tmp_path / "files" / name).read_bytes()), (f"{label}_{base[:-4]}.txt", b"")]
        members += [(f"{label}_{base.split('.')[0]}.cls", label.encode())]
    _write(tmp_path / "x.tar", members)
    files, tar = load_data(tmp_path / "files", _ALL), load_data(tmp_path / "x.tar", _ALL)
    assert (tar.layout, tar.classes, tar.val, tar.problems) == ("webdataset", ("a", "b"), None, ())
    for column in ("labels", "sizes", "channels"):
        np.testing.assert_array_equal(getattr(tar.train, column), getattr(files.train, column))
    assert list(tar.train.paths) == [f"x.tar/{name.replace('/', '_')}" for name in sorted(names)]
    assert len(names) > 20
    for channels in (1, 3):
        pairs = ImageDataset(files.train, channels), ImageDataset(tar.train, channels)
        for index in range(len(names)):
            np.testing.assert_array_equal(pairs[0].load(index), pairs[1].load(index))


def test_the_splits_of_shards(tmp_path: Path) -> None:
    for name, first in (("train/a.tar", 0), ("train/b.tar", 2), ("val/a.tar", 4), ("n-train-0.tar", 0)):
        _write(tmp_path / ("folders" if "/" in name else "names") / name, _samples(first, 2))
    _write(tmp_path / "names" / "n-val-0.tar", _samples(2, 2))
    _write(tmp_path / "names" / "n-test-0.tar", _samples(4, 2))
    (tmp_path / "names" / "README").touch()
    folders, names = load_data(tmp_path / "folders", _ALL), load_data(tmp_path / "names", _ALL)
    for source in (folders, names):
        assert source.has_own_split
        assert source.val is not None
    assert list(folders.train.paths)[:3] == ["train/a.tar/0000.jpg", "train/a.tar/0001.jpg", "train/b.tar/0002.jpg"]
    assert list(folders.val.paths) == ["val/a.tar/0004.jpg", "val/a.tar/0005.jpg"]
    assert list(names.train.paths) == ["n-train-0.tar/0000.jpg", "n-train-0.tar/0001.jpg"]
    assert list(names.val.paths) == ["n-val-0.tar/0002.jpg", "n-val-0.tar/0003.jpg"]
    assert names.ignored == (
        FileProblem("README", "a file beside the shards"),
        FileProblem("n-test-0.tar", "a shard of test, not used for training"),
    )
    drawn = load_data(tmp_path / "folders" / "train", DataOptions(val_split=0.5))
    assert (len(drawn.train), len(drawn.val), drawn.has_own_split) == (2, 2, False)
    _write(tmp_path / "names" / "other.tar", _samples(6, 2))
    assert _refused(tmp_path / "names") == (
        f"some names of the shards in {tmp_path}/names say val, and it is unclear what the others are: other.tar",
        "put train or val into the name of every shard, or give the folder of those that are meant",
    )
    _write(tmp_path / "folders" / "val" / "b.tar", [("9.jpg", _picture((3, 3))), ("9.cls", b"emu")])
    assert _refused(tmp_path / "folders") == (
        "the shards of val have classes that those of train have not: emu",
        "add such images to train, or take them out of val",
    )


def test_an_archive_beside_the_images_that_came_out_of_it(make_image, tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        make_image(f"data/{name}")
    _write(tmp_path / "data" / "original.tar", _samples(0, 2))
    assert load_data(tmp_path / "data", _ALL).layout == "image_folder"


@pytest.mark.parametrize(
    ("labels", "file", "classes", "numbers"),
    [
        ({"cls": [b"10\n", b" 9", b"010"]}, None, ("9", "10"), [1, 0, 1]),
        ({"cls": [b"1", b"0", b"2"]}, "cat\ndog\nemu\n\n", ("cat", "dog", "emu"), [1, 0, 2]),
        ({"cls": [b"emu", b"cat", b"emu"]}, "emu\r\ndog\r\ncat", ("emu", "cat"), [0, 1, 0]),
        ({"json": [b'{"label": "b"}', b'{"cls": "a", "x": 1}', b'{"class": "b"}']}, None, ("a", "b"), [1, 0, 1]),
        ({"json": [b'{"label": 3}', b'{"label": 2}', b'{"label": 3}']}, None, ("2", "3"), [1, 0, 1]),
        ({"cls": [b"a", b"b", b"a"], "json": [b"no json"] * 3}, None, ("a", "b"), [0, 1, 0]),
    ],
)
def test_labels(tmp_path: Path, labels: dict[str, list[bytes]], file: str | None, classes, numbers) -> None:
    members = []
    for n in range(3):
        members += [(f"{n}.{kind}", texts[n]) for kind, texts in labels.items()] + [(f"{n}.png", _picture((3, 4)))]
    _write(tmp_path / "s.tar", members)
    if file is not None:
        (tmp_path / "classes.txt").write_text(file)
    source = load_data(tmp_path, _ALL)
    assert source.classes == classes
    assert source.train.labels is not None
    assert source.train.labels.tolist() == numbers


def test_labels_that_cannot_be_used(tmp_path: Path) -> None:
    picture = _picture((3, 3))
    _write(tmp_path / "s.tar", [("a.jpg", picture), ("b.jpg", picture), ("b.cls", b"1"), ("c.jpg", picture)])
    assert _refused(tmp_path) == (
        f"2 of 3 samples in the shards of {tmp_path} have no label:\n"
        "  s.tar/a.jpg: no .cls, and no label in a .json\n  s.tar/c.jpg: no .cls, and no label in a .json",
        "give each sample a .cls file with its class, or none of them",
    )
    _write(tmp_path / "s.tar", [("a.jpg", picture), ("a.cls", b"7"), ("b.jpg", picture), ("b.cls", b"0")])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert _refused(tmp_path) == (
        f"the shards have labels that {tmp_path}/classes.txt does not know: 7; it has 2 names",
        "a label is one of its names, or the number of a line, counted from 0; correct or delete the file",
    )
    (tmp_path / "classes.txt").write_text("cat\ncat\n")
    assert _refused(tmp_path)[0] == f"{tmp_path}/classes.txt names cat twice"
    _write(tmp_path / "s.tar", [("a.jpg", picture)])
    assert load_data(tmp_path, _ALL).train.labels is None


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (
            [("a.jpg", b""), ("b.jpg", b""), ("a.cls", b"1")],
            "the key a comes twice; each sample needs its own, in one place",
        ),
        (
            [("d/a.jpg", b""), ("d/a.png", b"")],
            "d/a.jpg and d/a.png have the key d/a in common (it ends at the first dot); each image needs its own",
        ),
        ([("a.cls", b" "), ("a.jpg", b"")], "a.cls: the label is empty"),
        ([("a.cls", b"-1"), ("a.jpg", b"")], "a.cls: the label is -1; integer labels begin at 0"),
        ([("a.cls", b"x" * 5000), ("a.jpg", b"")], "a.cls: 5,000 bytes are too long for a label; 4,096 at most"),
        ([("a.json", b"{"), ("a.jpg", b"")], "a.json: Expecting property name enclosed in double quotes: "),
        (
            [("a.json", b'{"label": 1.5}'), ("a.jpg", b"")],
            "a.json: \"label\" is '1.5'; a label is an integer or a text",
        ),
    ],
)
def test_samples_against_the_convention(tmp_path: Path, members: list[tuple[str, bytes]], reason: str) -> None:
    _write(tmp_path / "s.tar", [(name, content or _picture((2, 2))) for name, content in members])
    message, hint = _refused(tmp_path)
    assert message.startswith(f"1 of 1 shards cannot be used:\n  s.tar: {reason}")
    assert hint == "write these shards anew, from the files they were made of, or take them out of the folder"


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    picture = _picture((3, 3))
    for k in range(2):
        members = [(f"{n}.{end}", picture) for n in range(3) for end in ("jpg", "txt", "depth.png")]
        _write(tmp_path / f"{k}.tar", [*members, ("x.cls", b"1"), ("README", b""), ("._1.jpg", b"litter")])
    source = load_data(tmp_path, _ALL)
    assert len(source.train) == 6
    assert source.ignored == (
        FileProblem("0.tar/0.txt", ".txt is neither an image nor a label; and 5 more such members"),
        FileProblem("0.tar/0.depth.png", "a further image of its sample; and 5 more such members"),
        FileProblem("0.tar/README", "no extension, so no part of a sample; and 1 more such members"),
        FileProblem("0.tar/x.cls", "its sample has no image; and 1 more such members"),
    )


def _cut(content: bytes) -> bytes:
    return content[:9000]


def _without_end(content: bytes) -> bytes:
    return content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512)


def _flipped(content: bytes) -> bytes:
    second = content.index(b"0001.jpg")
    return content[:second] + b"X" + content[second + 1 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_cut, r"it was cut off: \d{4}\.jpg should end at byte [\d,]+, and the file has 9,000"),
        (_without_end, r"it has no end mark: it was cut off at byte [\d,]+, or its writer was never closed"),
        (_flipped, r"damaged, or no tar file: no valid header at byte [\d,]+"),
        (
            lambda content: content * 2,
            r"there is more behind its end mark at byte [\d,]+: were several tar files joined\?",
        ),
        (lambda _: b"no tar file" * 100, r"damaged, or no tar file: no valid header at byte 0"),
        (lambda _: b"short", r"it has 5 bytes, which is no tar file"),
    ],
)
def test_damaged_shards(tmp_path: Path, damage: Callable[[bytes], bytes], reason: str) -> None:
    members = [
        (f"{n:04}.{end}", _picture((60, 60), seed=n) if end == "jpg" else b"1")
        for n in range(4)
        for end in ("cls", "jpg")
    ]
    path = _write(tmp_path / "s.tar", members)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LayoutError, match=rf"^1 of 1 shards cannot be used:\n  s\.tar: {reason}\nhint: write these"):
        load_data(tmp_path, _ALL)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(tarfile.LNKTYPE, "a hard link"), (tarfile.SYMTYPE, "a symbolic link"), (tarfile.GNUTYPE_SPARSE, "a sparse file")],
)
def test_members_that_are_no_regular_files_are_refused(tmp_path: Path, kind: bytes, words: str) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    assert _refused(tmp_path)[0] == (
        f"1 of 1 shards cannot be used:\n  s.tar: a.jpg is {words}, and only regular files are read"
    )


@pytest.mark.parametrize(("name", "unpack"), [("s.tar.gz", "gunzip"), ("s.tgz", "gunzip"), ("s.tar.zst", "unzst")])
def test_compressed_shards_are_refused(tmp_path: Path, name: str, unpack: str) -> None:
    (tmp_path / name).touch()
    assert _refused(tmp_path) == (
        f"1 of 1 shards are compressed, {name} first: their images could only be read in order, from the start",
        f"unpack each once, images hardly shrink: {unpack} {tmp_path / name}",
    )


def test_names_are_data(tmp_path: Path) -> None:
    names = ["/absolute/1.png", "../../up/2.png", "a\nb/3.png", "./4.png", "x" * 250 + "/5.png", "ä/6.png"]
    _write(tmp_path / "in" / "s.tar", [(name, _picture((4, n + 1), kind="PNG")) for n, name in enumerate(names)])
    before = sorted(tmp_path.rglob("*"))
    source = load_data(tmp_path / "in", _ALL)
    assert list(source.train.paths) == [f"s.tar/{name}" for name in names]
    assert [ImageDataset(source.train, 3).load(n).shape for n in range(6)] == [(4, n + 1, 3) for n in range(6)]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "in" / ".anysize-index"]), "nothing is extracted"


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_read_as_tarfile_reads_them(tmp_path: Path, tar_format: int) -> None:
    rng = np.random.default_rng(tar_format)
    deep = 90 if tar_format == tarfile.USTAR_FORMAT else 300
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tar_format) as tar:
        for n in range(60):
            name = "/".join("é" * int(rng.integers(1, 20)) for _ in range(int(rng.integers(1, 4)))) + f"/{n}"
            info = tarfile.TarInfo(name if n % 3 else "f" * int(rng.integers(1, deep)) + f"/{n}.x")
            info.size = int(rng.integers(0, 2000))
            info.mtime = n if tar_format == tarfile.USTAR_FORMAT else 1.5 + n  # fractions need an extended header
            info.uid = n if n % 4 or tar_format == tarfile.USTAR_FORMAT else 1 << 40
            tar.addfile(info, io.BytesIO(rng.bytes(info.size)))
            folder = tarfile.TarInfo(f"folder{n}")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
    with tarfile.open(path) as tar:
        expected = [(info.name, info.offset, info.offset_data, info.size) for info in tar if info.isfile()]
    with path.open("rb") as file:
        found = [(m.name, m.start, m.data, m.num_bytes) for m in read_members(file, path.stat().st_size)]
    assert len(found) == 60
    assert found == expected


def test_no_damaged_byte_of_a_header_goes_unnoticed(tmp_path: Path) -> None:
    content = _write(tmp_path / "s.tar", [("a" * 200 + ".jpg", b"1234"), ("b.cls", b"1")]).read_bytes()
    whole = [member.name for member in read_members(io.BytesIO(content), len(content))]
    assert len(whole) == 2
    rng = np.random.default_rng(0)
    for _ in range(300):
        position = int(rng.integers(0, content.rindex(b"b.cls") + 512))
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(0, 8))
        try:
            names = [member.name for member in read_members(io.BytesIO(damaged), len(damaged))]
        except TarError:
            continue
        assert len(names) == len(whole)


def test_only_changed_shards_are_indexed_anew(shards: Path, scans: list[str]) -> None:
    first = load_data(shards, _ALL)
    assert sorted(scans) == ["s-0.tar", "s-1.tar", "s-2.tar"]
    content = (shards / ".anysize-index").read_bytes()
    assert RECORD.itemsize == 16
    assert (
        content[16 + 8 + int.from_bytes(content[16:24], "little") :]
        == read_side_index(shards / ".anysize-index").records.tobytes()
    )
    scans.clear()
    assert load_data(shards, _ALL).train.sizes.tolist() == first.train.sizes.tolist()
    assert scans == []
    _write(shards / "s-1.tar", [("new.jpg", _picture((5, 6))), ("new.cls", b"ant")])
    _write(shards / "s-3.tar", _samples(12, 1))
    (shards / "s-0.tar").unlink()
    again = load_data(shards, _ALL)
    assert scans == ["s-1.tar", "s-3.tar"]
    assert again.classes == ("ant", "cat", "dog")
    assert list(again.train.paths)[:2] == ["s-1.tar/new.jpg", "s-2.tar/0008.jpg"]
    assert again.train.labels.tolist() == [0, 2, 1, 2, 1, 2]
    scans.clear()
    path = shards / ".anysize-index"
    whole = path.read_bytes()
    path.write_bytes(path.read_bytes()[:-4] + b"\x07\0" + path.read_bytes()[-2:])
    with pytest.raises(DataError) as caught:
        load_data(shards, _ALL)
    assert str(caught.value) == f"the index of the shards is damaged: {path}\nhint: delete that file; it is made anew"
    for damaged in (whole[:-16], whole + bytes(16), b"X" + whole[1:]):
        scans.clear()
        path.write_bytes(damaged)
        assert load_data(shards, _ALL).train.sizes.tolist() == again.train.sizes.tolist()
        assert sorted(scans) == ["s-1.tar", "s-2.tar", "s-3.tar"]
        assert path.read_bytes() == whole


def test_where_the_index_lies(shards: Path, scans: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (shards / ".anysize-index").mkdir()  # cannot be replaced by a file, even by root
    cache = Path(os.environ["ANYSIZE_CACHE"]) / "shards"
    load_data(shards, _ALL)
    assert [path.suffix for path in cache.iterdir()] == [".anysize-index"]
    load_data(shards, _ALL)
    assert len(scans) == 3
    monkeypatch.setenv("ANYSIZE_CACHE", str(shards / "s-0.tar"))
    source = load_data(shards, _ALL)
    assert len(source.notes) == 2
    assert source.notes[0].startswith(f"the index of the shards cannot be written to {shards}/.anysize-index (")
    dataset = pickle.loads(pickle.dumps(ImageDataset(source.train, 3)))  # noqa: S301 - our own bytes
    assert dataset.load(5).shape == (8, 6, 3)
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [1, 0] * 6


_SLOW_INDEXING = """
import sys, time
from pathlib import Path
from anysize.data import DataOptions, load_data
from anysize.data.shards import build
original = build.scan_shard
def slow(path, **options):
    time.sleep(0.3)
    return original(path, **options)
build.scan_shard = slow
load_data(Path(sys.argv[1]), DataOptions(workers=1))
"""


def test_a_killed_build_goes_on_where_it_stopped(shards: Path, scans: list[str]) -> None:
    child = subprocess.Popen([sys.executable, "-c", _SLOW_INDEXING, str(shards)])
    try:
        parts, deadline = shards / ".anysize-index.parts", time.monotonic() + 30
        while not (parts.is_dir() and [path for path in parts.iterdir() if not path.name.startswith(".")]):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (shards / ".anysize-index").exists()
    assert len(load_data(shards, _ALL).train) == 12
    assert 1 <= len(scans) <= 2
    assert not parts.exists()


def test_progress_is_told_in_mib(tmp_path: Path) -> None:
    _write(tmp_path / "a.tar", [("1.jpg", _picture((9, 9)) + bytes(3 << 20))])
    told: list[tuple[int, int]] = []
    load_data(tmp_path, _ALL, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)


def test_names_are_read_when_they_are_asked_for(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_data(shards, DataOptions(val_split=0.3))
    opened: list[Path] = []
    original = os.open
    monkeypatch.setattr("anysize.data.shards.members._open_shards", type("None", (), {"pid": -1}))
    monkeypatch.setattr(os, "open", lambda path, *args, **kw: opened.append(path) or original(path, *args, **kw))
    assert source.val is not None
    table = source.train.joined(source.val).select([5, 0, 1])
    assert isinstance(table.paths, ShardPaths)
    assert opened == []
    assert [table.paths[0], *table.paths[1:]] == [str(table.image(n)) for n in range(3)]
    assert len(opened) > 0
    assert str(table.image(0)) in source.train.joined(source.val).paths
    with pytest.raises(UsageError, match=r"^images in files and images in shards cannot be joined"):
        table.joined(load_data(_files(shards.parent / "files"), DataOptions()).train)


def _files(folder: Path) -> Path:
    folder.mkdir()
    (folder / "1.jpg").write_bytes(_picture((4, 4)))
    return folder


def _load_all(dataset: ImageDataset) -> list[tuple[tuple[int, ...], int]]:
    return [(image.shape, int(image.sum())) for image in map(dataset.load, range(len(dataset)))]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_open_the_shards_themselves(shards: Path, method: str) -> None:
    dataset = ImageDataset(load_data(shards, _ALL).train, 3)
    expected = _load_all(dataset)
    assert len(pickle.dumps(dataset)) < 3000
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_load_all, [dataset, dataset]) == [expected, expected]


def test_a_shard_that_changes_after_it_was_indexed(shards: Path) -> None:
    dataset = ImageDataset(load_data(shards, _ALL).train, 3)
    pickled = pickle.dumps(dataset)
    hint = "hint: restore the file, or start again: the folder is then scanned anew"
    dataset.load(0)
    path = shards / "s-0.tar"
    status = path.stat()
    _write(path, _samples(0, 3))
    with pytest.raises(DataError) as caught:
        dataset.load(0)
    shown = f"image {shards}/s-0.tar, image at byte 512"
    changed = "could be opened by the scan, and cannot be read now: s-0.tar has changed since it was indexed"
    assert str(caught.value) == f"{shown} {changed}\n{hint}"
    # The same length, and the time of modification set back: the name in the header tells.
    _write(path, [(name.replace("0000", "0009"), content) for name, content in _samples(0, 4)])
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError) as caught:
        dataset.load(0)
    assert str(caught.value) == f"{shown} {changed}\n{hint}"
    path.unlink()
    with pytest.raises(DataError) as caught:
        dataset.load(0)
    assert str(caught.value) == (
        f"{shown} could be opened by the scan, and cannot be read now: its shard is gone\n{hint}"
    )
    assert load_data(shards, _ALL).train.sizes.tolist()[0] == [8, 5]
    with pytest.raises(DataError, match=r"anysize-index cannot be used any more: it was written anew meanwhile\nhint"):
        pickle.loads(pickled)  # noqa: S301 - our own bytes


def test_images_that_cannot_be_read_are_named_and_can_be_left_out(shards: Path, scans: list[str]) -> None:
    members = [("bad.jpg", b"no image"), ("bad.cls", b"cat"), ("empty.png", b""), ("empty.cls", b"dog")]
    cut = _picture((64, 64))[:-400]
    _write(shards / "s-3.tar", [*members, ("cut.jpg", cut), ("cut.cls", b"cat"), *_samples(100, 2)])
    assert _refused(shards, UnreadableImagesError)[0] == (
        "2 of 17 images cannot be read:\n"
        "  s-3.tar/bad.jpg: no JPEG, PNG, WEBP, TIFF, BMP, GIF or PPM image, or its header is damaged\n"
        "  s-3.tar/empty.png: the file is empty (0 bytes)"
    )
    skip = DataOptions(val_split=0.3, skip_unreadable=True)
    checked = check_source(load_data(shards, skip), 3, skip)
    assert [problem.path for problem in checked.source.problems] == [
        f"s-3.tar/{n}" for n in ("bad.jpg", "empty.png", "cut.jpg")
    ]
    assert checked.source.val is not None
    table = checked.source.train.joined(checked.source.val)
    assert len(table) == 14
    pixels = [read_image(checked.source.train.image(n), 3).reshape(-1, 3) for n in range(len(checked.source.train))]
    np.testing.assert_allclose(checked.mean, np.concatenate(pixels).mean(axis=0), rtol=1e-12)


def test_the_check_is_remembered_as_long_as_the_shard(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in shards.iterdir():
        os.utime(path, (1e9, 1e9))
    first = check_source(load_data(shards, _ALL), 1, _ALL)
    from anysize.data import images

    read: list[str] = []
    original = images.read_with_remark
    monkeypatch.setattr(
        images,
        "read_with_remark",
        lambda source, *args, **kw: read.append(str(source)) or original(source, *args, **kw),
    )
    assert check_source(load_data(shards, _ALL), 1, _ALL).mean == first.mean
    assert read == []
    os.utime(shards / "s-1.tar")
    assert check_source(load_data(shards, _ALL), 1, _ALL).mean == first.mean
    assert sorted(read) == [f"s-1.tar/{n:04}.jpg" for n in range(4, 8)]


def test_the_cap_on_pixels_holds_in_shards(shards: Path, scans: list[str]) -> None:
    small = DataOptions(val_split=0, max_image_pixels=50)
    for _ in range(2):  # new, and known
        with pytest.raises(UnreadableImagesError) as caught:
            load_data(shards, small)
        assert caught.value.message.startswith(
            "6 of 12 images cannot be read:\n  s-1.tar/0006.jpg: the header says 56 pixels, above the limit of 50 "
        )
        assert len(scans) == 3
    assert len(load_data(shards, _ALL).train) == 12, "what another cap refused is read again"
    assert sorted(scans) == ["s-0.tar", "s-1.tar", "s-1.tar", "s-2.tar", "s-2.tar"]
    with pytest.raises(UnreadableImagesError, match=r"^6 of 12 images cannot be read"):
        load_data(shards, small)
    assert len(scans) == 5, "sizes that are known are compared with any cap"


def test_hard_inputs_are_read_in_shards_as_in_files(real_data: Path, tmp_path: Path) -> None:
    options = DataOptions(val_split=0, skip_unreadable=True)
    files = sorted(
        path for path in (real_data / "hard_inputs" / "files").iterdir() if path.suffix.lower() in EXTENSIONS
    )
    folder = tmp_path / "files"
    folder.mkdir()
    for n, path in enumerate(files):
        (folder / f"{n:03}{path.suffix}").write_bytes(path.read_bytes())
    _write(tmp_path / "s.tar", [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())])
    one, other = load_data(folder, options), load_data(tmp_path / "s.tar", options)
    assert len(one.train) > 20
    assert one.problems
    np.testing.assert_array_equal(one.train.sizes, other.train.sizes)
    np.testing.assert_array_equal(one.train.channels, other.train.channels)
    assert [f"s.tar/{problem.path}" for problem in one.problems] == [problem.path for problem in other.problems]
    assert [problem.reason for problem in one.problems] == [problem.reason for problem in other.problems]
    one_check, other_check = check_source(one, 3, options), check_source(other, 3, options)
    assert one_check.mean == other_check.mean
    assert [r.reason for r in one_check.remarks] == [r.reason for r in other_check.remarks]


def test_the_index_of_a_shard_without_images(tmp_path: Path) -> None:
    _write(tmp_path / "s.tar", [("a.txt", b"1")])
    assert _refused(tmp_path) == (
        f"no sample in the shards of {tmp_path} has an image: s.tar",
        "a sample is an image and its label, of one name: 0001.jpg and 0001.cls",
    )
    index, notes = open_side_index(tmp_path, ["s.tar"], _ALL)
    assert (len(index), notes) == (0, ())
