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

__all__ = ["FileCache", "FileStamp", "default_cache_path"]

# A new Pillow may read what the old one could not, and the other way round.
_VERSION = f"1 pillow {PIL.__version__}"
_WAIT_SECONDS = 30.0
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
    def of(cls, path: Path) -> "FileStamp | None":
        """The file's stamp now (a link's target), or None if it cannot be asked for."""
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: a null character in the name
            return None
        return cls(status.st_size, status.st_mtime_ns)


def default_cache_path() -> Path:
    """``$ANYSIZE_CACHE/index.sqlite``, or ``~/.cache/anysize/index.sqlite``."""
    folder = os.environ.get("ANYSIZE_CACHE")
    return (Path(folder) if folder else Path("~/.cache/anysize").expanduser()) / "index.sqlite"


class FileCache:
    """A mapping (kind, file) -> JSON value in one sqlite file, each entry valid for one `FileStamp`.

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

    def get(self, kind: str, stamps: Mapping[Path, FileStamp]) -> dict[Path, Any]:
        """The values that are known of these files as they are now; the others are left out."""
        found: dict[Path, Any] = {}
        if self._connection is None:
            return found
        query = "SELECT value FROM entries WHERE kind = ? AND path = ? AND size = ? AND mtime_ns = ?"
        try:
            for path, stamp in stamps.items():
                row = self._connection.execute(query, (kind, _key(path), stamp.size, stamp.mtime_ns)).fetchone()
                if row is not None:
                    found[path] = json.loads(row[0])
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._recover(error)
            return {}
        return found

    def put(self, kind: str, entries: Iterable[tuple[Path, FileStamp, Any]]) -> None:
        """Store values, each for its file as stamped, in one transaction."""
        rows = [(kind, _key(path), stamp.size, stamp.mtime_ns, json.dumps(value)) for path, stamp, value in entries]
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
                if versions != [(_VERSION,)]:
                    connection.execute("DELETE FROM meta")
                    connection.execute("DELETE FROM entries")
                    connection.execute("INSERT INTO meta VALUES (?)", (_VERSION,))
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


def _key(path: Path) -> bytes:
    # Bytes, since names on disk need not be valid text.
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 - resolving links would cost a call per folder level
