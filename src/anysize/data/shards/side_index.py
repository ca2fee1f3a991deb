"""The side index of shards: one file a data set, a head of JSON and 16 bytes an image, to be memory-mapped.

    16 bytes      b"ANYSIZE SHARDS\\n\\0"
    8 bytes       length of the head in bytes, little-endian; a multiple of 16, less 8
    head          JSON, UTF-8, padded with spaces: {"version", "labels": [text], "shards": [{"name", "num_bytes",
                  "mtime_ns", "num_images", "ignored", "problems", "max_image_pixels"}]}
    records       `samples.RECORD` of the first shard's images, then of the second's, ...

One file for all shards rather than one for each: thousands of shards are one memory map, shared between worker
processes, and the number of an image's shard follows from its place. What changes is written per shard all the same:
while it is built each shard's part is a file of this very format, with that shard alone.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from anysize.atomic import atomic_path
from anysize.data.cache import FileStamp
from anysize.data.shards.samples import NO_LABEL, RECORD
from anysize.errors import DataError

__all__ = ["ShardEntry", "ShardPart", "SideIndex", "read_side_index", "write_side_index"]

_MAGIC = b"ANYSIZE SHARDS\n\0"
# A new Pillow may read what the old one could not, and the other way round.
_VERSION = f"1 pillow {PIL.__version__}"
_MOST_LABELS = NO_LABEL


@dataclass(frozen=True)
class ShardEntry:
    """What is known of one shard besides its records: see `samples.ShardScan`; its name is relative to the root."""

    name: str
    num_bytes: int
    mtime_ns: int
    num_images: int
    ignored: tuple[tuple[str, str, int], ...]
    problems: tuple[tuple[int, str], ...]
    max_image_pixels: int | None

    @property
    def stamp(self) -> FileStamp:
        """The shard's as it was read."""
        return FileStamp(self.num_bytes, self.mtime_ns)


@dataclass(frozen=True)
class ShardPart:
    """One shard: its entry, its records (N,), and the labels that these count in."""

    entry: ShardEntry
    records: NDArray[np.void]
    labels: tuple[str, ...]


class SideIndex:
    """The images of all shards of a data set.

    It is pickled as the name of its file, and opened anew by whoever unpickles it.

    Args:
        entries: S shards.
        labels: what the records' labels count in.
        records: (N,) of `samples.RECORD`, shard by shard.
        path: the file that they come from; None if there is none.
    """

    def __init__(
        self, entries: Sequence[ShardEntry], labels: Sequence[str], records: NDArray[np.void], path: Path | None
    ) -> None:
        self.entries = tuple(entries)
        self.labels = tuple(labels)
        self.records = records
        self.path = path
        self.starts: NDArray[np.int64] = np.cumsum([0, *(entry.num_images for entry in self.entries)], dtype=np.int64)
        """(S + 1,) the number of each shard's first image."""

    def __len__(self) -> int:
        return len(self.records)

    def part(self, number: int) -> ShardPart:
        """One shard of it."""
        records = self.records[self.starts[number] : self.starts[number + 1]]
        return ShardPart(self.entries[number], records, self.labels)

    @cached_property
    def digest(self) -> str:
        """Of all but the records: another index, or one of changed shards, has another."""
        return sha256(_head(self.entries, self.labels)).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        if self.path is None:
            return {"parts": (self.entries, self.labels, np.asarray(self.records), None)}
        return {"path": self.path, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "parts" in state:
            self.__init__(*state["parts"])  # type: ignore[misc]
            return
        try:
            twin = read_side_index(state["path"])
        except (OSError, ValueError) as error:
            twin = None
            reason = str(error)
        else:
            reason = "it was written anew meanwhile"
        if twin is None or twin.digest != state["digest"]:
            raise DataError(
                f"the index of shards {state['path']} cannot be used any more: {reason}",
                hint="do not change shards during a run; start again: they are then indexed anew",
            )
        self.__dict__.update(twin.__dict__)


def write_side_index(path: Path, parts: Sequence[ShardPart]) -> None:
    """Write the shards as one index, whole or not at all.

    Raises:
        OSError: it cannot be written.
        DataError: more different labels than a record can count.
    """
    labels = sorted({label for part in parts for label in _used_labels(part)})
    if len(labels) > _MOST_LABELS:
        raise DataError(
            f"the shards have {len(labels):,} different labels; {_MOST_LABELS:,} at most can be told apart",
            hint="give .cls files a class, not a number for each image",
        )
    head = _head([part.entry for part in parts], labels)
    number = {label: position for position, label in enumerate(labels)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC + len(head).to_bytes(8, "little") + head)
        for part in parts:
            records = np.array(part.records, RECORD)
            renamed = np.full(NO_LABEL + 1, NO_LABEL, np.uint16)
            for position, label in enumerate(part.labels):
                renamed[position] = number.get(label, NO_LABEL)
            records["label"] = renamed[records["label"]]
            file.write(records.tobytes())


def read_side_index(path: Path) -> SideIndex:
    """Open an index; its records are mapped, not read.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is damaged, or of another version.
    """
    with path.open("rb") as file:
        prefix = file.read(len(_MAGIC) + 8)
        if prefix[:-8] != _MAGIC:
            raise ValueError("it is no index of shards")
        num_bytes = os.fstat(file.fileno()).st_size
        length = int.from_bytes(prefix[-8:], "little")
        if length > num_bytes - len(prefix):  # before anything of that length is asked of the memory
            raise ValueError(f"it is damaged: {num_bytes:,} bytes cannot have a head of {length:,}")
        head = file.read(length)
    try:
        content = json.loads(head)
        if content["version"] != _VERSION:
            raise ValueError(f"its version is {content['version']}, not {_VERSION}")
        entries = tuple(_entry(item) for item in content["shards"])
        labels = tuple(str(label) for label in content["labels"])
    # JSON can nest more deeply than Python recurses, and knows Infinity, which is no integer.
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError("its head is damaged") from error
    offset = len(prefix) + len(head)
    num_images = sum(entry.num_images for entry in entries)
    if num_bytes != offset + num_images * RECORD.itemsize:
        raise ValueError(f"it is damaged: {num_bytes:,} bytes are not the size of {num_images:,} images")
    records: NDArray[np.void] = (
        np.memmap(path, RECORD, "r", offset=offset, shape=(num_images,)) if num_images else np.zeros(0, RECORD)
    )
    return SideIndex(entries, labels, records, path)


def _used_labels(part: ShardPart) -> list[str]:
    used = np.unique(part.records["label"])
    return [part.labels[number] for number in used.tolist() if number != NO_LABEL]


def _head(entries: Sequence[ShardEntry], labels: Sequence[str]) -> bytes:
    content = {"version": _VERSION, "labels": list(labels), "shards": [asdict(entry) for entry in entries]}
    text = json.dumps(content).encode()  # ASCII: bytes that are no UTF-8 in a name become escapes
    return text + b" " * (-(len(text) + 8) % 16)


def _entry(item: dict[str, Any]) -> ShardEntry:
    """Rebuilt from JSON; KeyError, TypeError, OverflowError or ValueError if it is not as written."""
    cap, num_images = item["max_image_pixels"], int(item["num_images"])
    problems = tuple((int(row), str(reason)) for row, reason in item["problems"])
    if num_images < 0 or any(not 0 <= row < num_images for row, _ in problems):
        raise ValueError("its head is damaged")
    return ShardEntry(
        name=str(item["name"]),
        num_bytes=int(item["num_bytes"]),
        mtime_ns=int(item["mtime_ns"]),
        num_images=num_images,
        ignored=tuple((str(name), str(reason), int(count)) for name, reason, count in item["ignored"]),
        problems=problems,
        max_image_pixels=None if cap is None else int(cap),
    )
