"""Images of shards by their number: their bytes straight from the tar file, their names when asked for."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from anysize.data.cache import FileStamp, file_key
from anysize.data.images import ImageReadError
from anysize.data.shards.samples import header_blocks, name_check
from anysize.data.shards.side_index import SideIndex
from anysize.data.shards.tar import BLOCK_BYTES, Member, TarError, parse_member
from anysize.errors import DataError, UsageError

__all__ = ["ShardImage", "ShardMembers", "ShardPaths"]

_MOST_OPEN = 64


@dataclass(frozen=True)
class ShardImage:
    """One image within a shard; what `images.read_header` and `images.read_image` take in place of a path.

    Args:
        shard: the tar file.
        shown: its name for people, relative to the root.
        shard_stamp: the tar file's, as it was indexed.
        start: offset of the member's first header in bytes.
        data: offset of its content.
        num_bytes: length of its content.
        check: `name_check` of its name.
    """

    shard: Path
    shown: str
    shard_stamp: FileStamp
    start: int
    data: int
    num_bytes: int
    check: int

    def open(self) -> io.BytesIO:
        """Its bytes.

        Raises:
            ImageReadError: the shard is gone, or is not as it was indexed.
        """
        file = _open_shard(self.shard)
        self._member(file)
        content = file.read_at(self.data, self.num_bytes)
        if len(content) < self.num_bytes:
            raise self._changed()
        return io.BytesIO(content)

    @property
    def name(self) -> str:
        """``shard-0001.tar/key.jpg``: read from the tar file.

        Raises:
            ImageReadError: as `open`.
        """
        return f"{self.shown}/{self._member(_open_shard(self.shard)).name}"

    @property
    def key(self) -> bytes:
        """Of the file and its place in it."""
        return file_key(self.shard) + b"\0%d" % self.data

    @property
    def stamp(self) -> FileStamp:
        """Its length, and the time of modification of the shard."""
        return FileStamp(self.num_bytes, self.shard_stamp.mtime_ns)

    def __str__(self) -> str:
        try:
            return self.name
        except ImageReadError:
            return f"{self.shown}, image at byte {self.data:,}"

    def _member(self, file: "_OpenShard") -> Member:
        """The member as its headers have it now, which must be what was indexed."""
        if file.stamp() != self.shard_stamp:
            raise self._changed()
        try:
            member = parse_member(io.BytesIO(file.read_at(self.start, self.data - self.start)))
        except (TarError, OSError) as error:  # OSError: no such place in the file
            raise self._changed() from error
        now = (self.start + member.data, member.num_bytes, name_check(member.name))
        if now != (self.data, self.num_bytes, self.check):
            raise self._changed()
        return member

    def _changed(self) -> ImageReadError:
        return ImageReadError(f"{self.shown} has changed since it was indexed", lasting=False)


@dataclass(frozen=True, eq=False)
class ShardMembers(Sequence[ShardImage]):
    """N images of shards.

    Args:
        root: folder that the shards' names are relative to.
        side_index: of all shards.
        rows: (N,) int64: which of its records, in this order.
    """

    root: Path
    side_index: SideIndex
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, position: int) -> ShardImage: ...
    @overload
    def __getitem__(self, position: slice) -> "ShardMembers": ...
    def __getitem__(self, position: int | slice) -> "ShardImage | ShardMembers":
        if isinstance(position, slice):
            return self.select(np.arange(len(self))[position])
        row = int(self.rows[position])
        shard = int(np.searchsorted(self.side_index.starts, row, side="right")) - 1
        entry = self.side_index.entries[shard]
        block, num_bytes, _, _, _, flags = self.side_index.records[row].item()
        data = block * BLOCK_BYTES
        return ShardImage(
            shard=self.root / entry.name,
            shown=entry.name,
            shard_stamp=entry.stamp,
            start=data - header_blocks(flags) * BLOCK_BYTES,
            data=data,
            num_bytes=num_bytes,
            check=flags >> 8,
        )

    @cached_property
    def paths(self) -> "ShardPaths":
        """Their names."""
        return ShardPaths(self)

    def select(self, positions: NDArray[np.int64]) -> "ShardMembers":
        """The images at these positions, in this order."""
        return ShardMembers(self.root, self.side_index, self.rows[positions])

    def joined(self, other: "ShardMembers") -> "ShardMembers":
        """These images, then those.

        Raises:
            UsageError: they are of two indices.
        """
        if self.side_index is not other.side_index and self.side_index.digest != other.side_index.digest:
            raise UsageError(
                f"images of the shards in {self.root} cannot be joined with those in {other.root}",
                hint="put the shards into one folder, and give that",
            )
        return ShardMembers(self.root, self.side_index, np.concatenate([self.rows, other.rows]))


class ShardPaths(Sequence[str]):
    """The names of images of shards, ``shard-0001.tar/key.jpg``, each read from its tar file when asked for.

    Args:
        members: the images.
    """

    def __init__(self, members: ShardMembers) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    @overload
    def __getitem__(self, position: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> "ShardPaths": ...
    def __getitem__(self, position: SupportsIndex | slice) -> "str | ShardPaths":
        if isinstance(position, slice):
            return ShardPaths(self.members[position])
        image = self.members[index(position)]
        try:
            return image.name
        except ImageReadError as error:
            raise DataError(
                f"the name of an image in {image.shard} cannot be read: {error.reason}",
                hint="do not change shards during a run; start again: they are then indexed anew",
            ) from error

    def __iter__(self) -> Iterator[str]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        return f"<names of {len(self)} images in shards>"


class _OpenShard:
    """A tar file that any number of threads read at once; closed when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()

    def __del__(self) -> None:
        # Not closed by hand: a thread that still reads would read from whatever file gets the number next.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def stamp(self) -> FileStamp:
        status = os.fstat(self._descriptor)
        return FileStamp(status.st_size, status.st_mtime_ns)

    def read_at(self, start: int, num_bytes: int) -> bytes:
        """As many of these bytes as there are."""
        content = self._read_some(start, num_bytes)
        while 0 < len(content) < num_bytes:  # one call reads 2 GiB at most
            more = self._read_some(start + len(content), num_bytes - len(content))
            if not more:
                break
            content += more
        return content

    def _read_some(self, start: int, num_bytes: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, num_bytes, start)
        with self._lock:  # Windows
            os.lseek(self._descriptor, start, os.SEEK_SET)
            return os.read(self._descriptor, num_bytes)


class _OpenShards:
    """The tar files that this process has open, the longest unused leaving first."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, _OpenShard] = OrderedDict()

    def get(self, path: Path) -> _OpenShard:
        with self._lock:
            file = self._files.get(path)
            # A shard that was replaced is another file, and the one that is open would never show it.
            if file is not None and FileStamp.of(path) == file.stamp():
                self._files.move_to_end(path)
                return file
            self._files.pop(path, None)
            file = self._files[path] = _OpenShard(path)
            if len(self._files) > _MOST_OPEN:
                self._files.popitem(last=False)
            return file


_open_shards = _OpenShards()


def _open_shard(path: Path) -> _OpenShard:
    global _open_shards
    if _open_shards.pid != os.getpid():  # forked: a lock may be held by a thread that is not here
        _open_shards = _OpenShards()
    try:
        return _open_shards.get(path)
    except OSError as error:
        reason = "its shard is gone" if isinstance(error, FileNotFoundError) else str(error.strerror or error).lower()
        raise ImageReadError(reason, lasting=False) from error
