"""One sqlite file of what was found out about files, forgotten as soon as a file changes."""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from anysize.cache_folder import cache_folder

__all__ = ["FileCache", "FileStamp", "default_cache_path", "file_key"]

# Of the file itself; another one is emptied.
_FORMAT = "2"
# Part of each row's kind: a new Pillow may read what the old one could not, and the other way round. Environments with
# different versions share one file, and each sees its own rows only.
_VERSION = f"pillow {PIL.__version__}"
_SQLITE_INTEGERS = range(-(2**63), 2**63)  # nanoseconds reach to 2262; some archives set times beyond
_WAIT_SECONDS = 30.0
_KEYS_PER_QUERY = 500  # old sqlite versions take 999 parameters
_CREATE = """
CREATE TABLE IF NOT EXISTS meta (version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    kind TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, value TEXT NOT
    NULL, PRIMARY KEY (kind, path)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes when a file is written: its size in bytes and its modification time in nanoseconds."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path | str) -> "FileStamp | None":
        """The file's stamp now (a link's target), or None if it cannot be asked for."""
        try:
            status = os.stat(path)  # noqa: PTH116 - a million Paths are slow
        except (OSError, ValueError):  # ValueError: a null character in the name
            return None
        return cls(status.st_size, status.st_mtime_ns)


def default_cache_path() -> Path:
    """``$ANYSIZE_CACHE/index.sqlite``, or ``~/.cache/anysize/index.sqlite``."""
    return cache_folder() / "index.sqlite"


class FileCache:
    """A mapping (kind, key) -> JSON value in one sqlite file, each entry valid for one `FileStamp`.

    Keys are bytes, since names on disk need not be valid text: `file_key` for files.

    It never stands in the way: a cache that cannot be opened or written is done without, a damaged one is
    thrown away and started again, and ``notes`` says so, once.

    Args:
        path: the sqlite file; its folder is made if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._connection: sqlite3.Connection | None = None
        self._open()

    def get(self, kind: str, stamps: Mapping[bytes, FileStamp]) -> dict[bytes, Any]:
        """The values that are known of these keys under these stamps; the others are left out."""
        found: dict[bytes, Any] = {}
        if self._connection is None:
            return found
        keys = list(stamps)
        try:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                part = keys[start : start + _KEYS_PER_QUERY]
                marks = ", ".join("?" * len(part))
                query = f"SELECT path, size, mtime_ns, value FROM entries WHERE kind = ? AND path IN ({marks})"  # noqa: S608 - marks are question marks only
                for key, size, mtime_ns, value in self._connection.execute(query, (_of_version(kind), *part)):
                    stamp = stamps[key]
                    if stamp.size == size and stamp.mtime_ns == mtime_ns:
                        found[key] = json.loads(value)
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            self._recover(error)
            return {}
        return found

    def put(self, kind: str, entries: Iterable[tuple[bytes, FileStamp, Any]]) -> None:
        """Store values, each for its key as stamped, in one transaction.

        Times of modification that sqlite cannot hold are left out.
        """
        rows = [
            (_of_version(kind), key, stamp.size, stamp.mtime_ns, json.dumps(value))
            for key, stamp, value in entries
            if stamp.mtime_ns in _SQLITE_INTEGERS
        ]
        if not rows:
            return
        for _ in range(2):  # once more if the first attempt found the file damaged and started a new one
            if self._connection is None:
                return
            try:
                with self._connection:
                    self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
                return
            except sqlite3.Error as error:
                self._recover(error)

    def close(self) -> None:
        """Close the file; afterwards the cache knows nothing and keeps nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            self._recover(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS)
        try:
            connection.executescript(_CREATE)
            versions: Sequence[tuple[str]] = connection.execute("SELECT version FROM meta").fetchall()
            with connection:
                if versions != [(_FORMAT,)]:
                    connection.execute("DELETE FROM meta")
                    connection.execute("DELETE FROM entries")
                    connection.execute("INSERT INTO meta VALUES (?)", (_FORMAT,))
                else:  # writing nothing new shows now, not after an hour of scanning, whether one can write
                    connection.execute("UPDATE meta SET version = version")
        except BaseException:
            connection.close()
            raise
        return connection

    def _recover(self, error: Exception) -> None:
        """Start a damaged cache again; do without one that cannot be used."""
        self.close()
        # The base class itself means a damaged file; OperationalError is a lock, a full disk or a missing
        # permission. A table of other columns, left by something else, is an OperationalError too, but one
        # about the SQL.
        damaged = not isinstance(error, OSError) and (
            not isinstance(error, sqlite3.OperationalError) or "column" in str(error)
        )
        if damaged and not any("damaged" in note for note in self.notes):
            self.notes.append(f"the image index {self.path} was damaged ({error}) and is built anew")
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._open()
            return
        self.notes.append(
            f"the image index {self.path} cannot be used ({error}): every file is read again each time; "
            "set ANYSIZE_CACHE to a folder that can be written"
        )


def _of_version(kind: str) -> str:
    return f"{kind} {_VERSION}"


def file_key(path: Path | str) -> bytes:
    """The key of a file: its absolute path, as bytes."""
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 - resolving links would cost a call per folder level
