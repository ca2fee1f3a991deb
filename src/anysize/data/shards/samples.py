"""Reading one shard from front to end: its samples, their labels, the headers of their images.

The convention is WebDataset's: the files of one sample stand together and share their name up to the first dot
behind the last slash, the key; what follows that dot says what a file is.
"""

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from anysize.data import images
from anysize.data.folders import is_image_name, is_litter
from anysize.data.images import ImageReadError
from anysize.data.pillow import quiet_pillow
from anysize.data.problems import printable
from anysize.data.shards.tar import BLOCK_BYTES, Member, TarError, read_members

__all__ = [
    "FRAMES",
    "GREY",
    "NO_LABEL",
    "RECORD",
    "UNREADABLE",
    "ShardScan",
    "header_blocks",
    "name_check",
    "scan_shard",
]

RECORD = np.dtype(
    [("block", "<u4"), ("num_bytes", "<u4"), ("height", "<u2"), ("width", "<u2"), ("label", "<u2"), ("flags", "<u2")]
)
"""16 bytes an image: the 512-byte block at which its content begins; its length in bytes; its size, upright; the
number of its label in the index's list, or `NO_LABEL`; and flags: bit 0 grey, bit 1 several frames, bit 2
unreadable, bits 3 to 7 the number of blocks that its headers take, bits 8 to 15 `name_check` of its name."""

NO_LABEL = 0xFFFF
GREY, FRAMES, UNREADABLE = 1, 2, 4
_BLOCKS_SHIFT, _MOST_HEADER_BLOCKS = 3, 31
_CHECK_SHIFT = 8

_MOST_SIDE = 0xFFFF
_MOST_LABEL_BYTES = 4096
_MOST_JSON_BYTES = 16 << 20
_JSON_LABELS = ("label", "cls", "class")
_TELL_MEMBERS = 64


@dataclass(frozen=True)
class ShardScan:
    """What one shard holds.

    Args:
        records: (N,) of `RECORD`, in the order of the images in the shard.
        labels: the texts that the records' labels count in; integers in their shortest form.
        ignored: (name of the first, reason, count) of members that are neither an image nor its label.
        problems: (number of the record, reason) of images whose header cannot be read.
        max_image_pixels: the cap that refused some of them, so that another may not; None if it refused none.
    """

    records: NDArray[np.void]
    labels: tuple[str, ...]
    ignored: tuple[tuple[str, str, int], ...]
    problems: tuple[tuple[int, str], ...]
    max_image_pixels: int | None


def header_blocks(flags: int) -> int:
    """The number of 512-byte blocks that a member's headers take before its content."""
    return (flags >> _BLOCKS_SHIFT) & _MOST_HEADER_BLOCKS


def name_check(name: str) -> int:
    """0..255: shows, but for one time in 256, that a member has got another name."""
    return crc32(name.encode("utf-8", "surrogateescape")) & 0xFF


def scan_shard(path: Path, *, max_image_pixels: int, tell: Callable[[int], None]) -> ShardScan:
    """Read a shard once, from front to end, seeking over the pixels.

    Args:
        path: an uncompressed tar file.
        max_image_pixels: height x width above which an image is a problem.
        tell: told from time to time how many bytes of the file are done.

    Raises:
        TarError: the shard is damaged or does not keep to the convention.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, quiet_pillow:
        reading = _Reading(file, max_image_pixels)
        for number, member in enumerate(read_members(file, os.fstat(file.fileno()).st_size)):
            reading.take(member)
            if number % _TELL_MEMBERS == 0:
                tell(member.data)
        return reading.finish()


@dataclass
class _Sample:
    key: str
    members: list[str] = field(default_factory=list)
    pictures: list[tuple[str, Member]] = field(default_factory=list)  # extension, member
    cls: str | None = None
    json: str | None = None
    json_fault: str | None = None


class _Reading:
    """A shard while it is read: at any time one sample is open."""

    def __init__(self, file: BinaryIO, max_image_pixels: int) -> None:
        self._file = file
        self._cap = max_image_pixels
        self._sample: _Sample | None = None
        self._keys: set[str] = set()
        self._records: list[tuple[int, ...]] = []
        self._labels: dict[str, int] = {}
        self._ignored: dict[str, tuple[str, int]] = {}
        self._problems: list[tuple[int, str]] = []
        self._refused_by_cap = False

    def take(self, member: Member) -> None:
        """The next member."""
        folder, slash, base = member.name.rpartition("/")
        if is_litter(base):
            return
        stem, dot, extension = base.partition(".")
        if not dot:
            self._ignore(member.name, "no extension, so no part of a sample")
            return
        key = folder + slash + stem
        if self._sample is None or self._sample.key != key:
            self._close_sample()
            if key in self._keys:
                raise TarError(f"the key {printable(key)} comes twice; each sample needs its own, in one place")
            self._keys.add(key)
            self._sample = _Sample(key)
        self._add(self._sample, member, extension.lower())

    def finish(self) -> ShardScan:
        """All that was found."""
        self._close_sample()
        return ShardScan(
            records=np.array(self._records, RECORD),
            labels=tuple(self._labels),
            ignored=tuple((name, reason, count) for reason, (name, count) in self._ignored.items()),
            problems=tuple(self._problems),
            max_image_pixels=self._cap if self._refused_by_cap else None,
        )

    def _add(self, sample: _Sample, member: Member, extension: str) -> None:
        sample.members.append(member.name)
        if is_image_name("x." + extension):
            sample.pictures.append((extension, member))
        elif extension == "cls":
            if sample.cls is not None:
                raise TarError(f"the key {printable(sample.key)} has two .cls; each sample needs its own key")
            sample.cls = self._class_text(member)
        elif extension == "json":
            try:
                sample.json = _label_of(self._read(member, _MOST_JSON_BYTES))
            except (ValueError, RecursionError) as error:
                sample.json_fault = f"{printable(member.name)}: {error}"
        else:
            self._ignore(member.name, f".{printable(extension)} is neither an image nor a label")

    def _close_sample(self) -> None:
        sample = self._sample
        if sample is None:
            return
        self._sample = None
        if not sample.pictures:
            for name in sample.members:
                self._ignore(name, "its sample has no image")
            return
        member = self._picture(sample)
        if sample.cls is None and sample.json_fault is not None:
            raise TarError(sample.json_fault)
        label = sample.json if sample.cls is None else sample.cls
        number = NO_LABEL if label is None else self._labels.setdefault(label, len(self._labels))
        if label is not None and number >= NO_LABEL:
            raise TarError(f"it has more than {NO_LABEL:,} different labels")
        self._records.append(self._record(member, number))

    def _picture(self, sample: _Sample) -> Member:
        """The image of a sample: the only one, or the only one whose extension has no further dot."""
        plain = [member for extension, member in sample.pictures if "." not in extension]
        chosen = [member for _, member in sample.pictures] if len(sample.pictures) == 1 else plain
        if len(chosen) != 1:
            names = " and ".join(printable(member.name) for _, member in sample.pictures[:2])
            raise TarError(
                f"{names} have the key {printable(sample.key)} in common (it ends at the first dot); "
                "each image needs its own"
            )
        for _, member in sample.pictures:
            if member is not chosen[0]:
                self._ignore(member.name, "a further image of its sample")
        return chosen[0]

    def _record(self, member: Member, label: int) -> tuple[int, ...]:
        blocks = (member.data - member.start) // BLOCK_BYTES
        if blocks > _MOST_HEADER_BLOCKS:
            raise TarError(
                f"{printable(member.name[:80])} has {blocks} blocks of headers; {_MOST_HEADER_BLOCKS} at most"
            )
        if member.num_bytes > 0xFFFFFFFF:
            raise TarError(f"{printable(member.name)} has {member.num_bytes:,} bytes; 4 GiB at most are read")
        flags = blocks << _BLOCKS_SHIFT | name_check(member.name) << _CHECK_SHIFT
        height = width = 0
        try:
            header = images.read_header(_Region(self._file, member), max_image_pixels=self._cap)
            height, width = header.height, header.width
            if max(height, width) > _MOST_SIDE:
                raise ImageReadError(
                    f"the image is {height}x{width} (height x width); in shards no side may be above {_MOST_SIDE:,}"
                )
            flags |= (GREY if header.channels == 1 else 0) | (FRAMES if header.frames > 1 else 0)
        except ImageReadError as error:
            self._problems.append((len(self._records), error.reason))
            self._refused_by_cap |= not error.lasting
            height = width = 0
            flags |= UNREADABLE
        return member.data // BLOCK_BYTES, member.num_bytes, height, width, label, flags

    def _class_text(self, member: Member) -> str:
        try:
            return _as_label(self._read(member, _MOST_LABEL_BYTES).decode("utf-8"))
        except ValueError as error:  # text that is no UTF-8 is a ValueError too
            raise TarError(f"{printable(member.name)}: {error}") from error

    def _read(self, member: Member, most: int) -> bytes:
        if member.num_bytes > most:
            raise ValueError(f"{member.num_bytes:,} bytes are too long for a label; {most:,} at most")
        self._file.seek(member.data)
        return self._file.read(member.num_bytes)

    def _ignore(self, name: str, reason: str) -> None:
        first, count = self._ignored.get(reason, (name, 0))
        self._ignored[reason] = (first, count + 1)


def _label_of(content: bytes) -> str | None:
    """The label in a sample's .json, or None if it has none."""
    value: Any = json.loads(content)
    if not isinstance(value, dict):
        return None
    for name in _JSON_LABELS:
        if name in value:
            label = value[name]
            if isinstance(label, bool) or not isinstance(label, int | str):
                raise ValueError(f'"{name}" is {str(label)[:40]!r}; a label is an integer or a text')
            return _as_label(str(label))
    return None


def _as_label(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("the label is empty")
    if text.isascii() and text.removeprefix("-").isdigit():
        number = int(text)
        if number < 0:
            raise ValueError(f"the label is {number}; integer labels begin at 0")
        return str(number)
    return text


class _Region:
    """An image within an open file, as `images.read_header` takes it."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self._file = file
        self._member = member

    @property
    def num_bytes(self) -> int:
        return self._member.num_bytes

    def open(self) -> io.BufferedReader:
        return io.BufferedReader(_Window(self._file, self._member.data, self._member.num_bytes))


class _Window(io.RawIOBase):
    """A part of an open file as a file of its own; closing it leaves the other open."""

    def __init__(self, file: BinaryIO, start: int, num_bytes: int) -> None:
        self._file, self._start, self._num_bytes, self._at = file, start, num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(self._num_bytes - self._at, 0)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view) if len(view) else 0  # type: ignore[attr-defined]
        self._at += count
        return int(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._num_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"a seek to {base + offset}, before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at
