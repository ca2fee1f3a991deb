"""Making the side index of shards: only of those that are new or have changed, several at a time, restartable."""

import shutil
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from anysize.cache_folder import cache_folder
from anysize.data.cache import FileStamp, file_key
from anysize.data.index import Pace, Progress, default_workers
from anysize.data.options import DataOptions
from anysize.data.problems import FileProblem, describe
from anysize.data.shards.samples import scan_shard
from anysize.data.shards.side_index import ShardEntry, ShardPart, SideIndex, read_side_index, write_side_index
from anysize.data.shards.tar import TarError
from anysize.errors import DataError, LayoutError

__all__ = ["index_places", "open_side_index"]

_WAIT_SECONDS = 0.25
_MIB = 1 << 20


def index_places(root: Path, names: Sequence[str], alone: bool) -> tuple[Path, Path]:
    """Where the index of these shards may lie: beside them, or, where that cannot be written, in the cache folder.

    Args:
        root: folder of the shards.
        names: the shards, relative to it.
        alone: the one shard was given itself, rather than its folder.
    """
    beside = root / (f".{names[0]}.anysize-index" if alone else ".anysize-index")
    return beside, cache_folder() / "shards" / f"{sha256(file_key(beside)).hexdigest()[:32]}.anysize-index"


def open_side_index(
    root: Path, names: Sequence[str], options: DataOptions, *, alone: bool = False, progress: Progress | None = None
) -> tuple[SideIndex, tuple[str, ...]]:
    """The index of shards as they are now, and what a user should know about it.

    Args:
        root: folder of the shards.
        names: the shards, relative to it, in the order that their images are to have.
        options: workers (threads; each reads one shard at a time) and the cap on pixels.
        alone: see `index_places`.
        progress: told (MiB done, MiB in all) of the shards that have to be read.

    Raises:
        LayoutError: shards that are damaged or do not keep to the convention, all in one error; what was found of
            the others is kept.
        DataError: a shard that cannot be opened.
    """
    places = index_places(root, names, alone)
    stamps = {name: _stamp(root, name) for name in names}
    indices = [index for place in places if (index := _read(place)) is not None]
    for index in indices:
        if [entry.name for entry in index.entries] == list(names) and all(
            _holds(entry, stamps, options) for entry in index.entries
        ):
            return index, ()
    parts = {
        part.entry.name: part for index in indices for part in _parts(index) if _holds(part.entry, stamps, options)
    }
    # Written one by one, and joined at the end: an interrupted build goes on with the shards that are left.
    for place in places:
        for name in names:
            index = None if name in parts else _read(_part_path(place, name))
            if index is not None and len(index.entries) == 1 and _holds(index.entries[0], stamps, options):
                parts[name] = index.part(0)
    missing = [name for name in names if name not in parts]
    parts |= _scan(root, missing, stamps, places, options, progress)
    return _store([parts[name] for name in names], places)


def _stamp(root: Path, name: str) -> FileStamp:
    stamp = FileStamp.of(root / name)
    if stamp is None:
        raise DataError(f"the shard {root / name} cannot be opened", hint="does the link point to a file?")
    return stamp


def _holds(entry: ShardEntry, stamps: dict[str, FileStamp], options: DataOptions) -> bool:
    """Whether the entry is of the shard as it is now, and another cap on pixels would change nothing."""
    same_cap = entry.max_image_pixels in (None, options.max_image_pixels)
    return same_cap and stamps.get(entry.name) == entry.stamp


def _read(path: Path) -> SideIndex | None:
    try:
        return read_side_index(path)
    except (OSError, ValueError):  # not there, of another version, or damaged: then it is made anew
        return None


def _parts(index: SideIndex) -> Iterable[ShardPart]:
    return (index.part(number) for number in range(len(index.entries)))


def _parts_folder(place: Path) -> Path:
    return place.with_name(place.name + ".parts")


def _part_path(place: Path, name: str) -> Path:
    return _parts_folder(place) / sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class _Tally:
    """Bytes that several threads have done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}

    def set(self, name: str, num_bytes: int) -> None:
        with self._lock:
            self._done[name] = num_bytes

    def mib(self) -> int:
        with self._lock:
            return sum(self._done.values()) // _MIB


def _scan(
    root: Path,
    names: Sequence[str],
    stamps: dict[str, FileStamp],
    places: Sequence[Path],
    options: DataOptions,
    progress: Progress | None,
) -> dict[str, ShardPart]:
    """Read these shards, one a thread at a time; each part is written down as soon as it is known."""
    if not names:
        return {}
    tally = _Tally()
    total = max(sum(stamps[name].size for name in names) // _MIB, 1)
    pace = Pace(progress, total)
    parts: dict[str, ShardPart] = {}
    faults: list[FileProblem] = []
    with ThreadPoolExecutor(options.workers or default_workers()) as pool:
        futures: dict[Future[ShardPart], str] = {
            pool.submit(_scan_one, root, name, stamps[name], options.max_image_pixels, tally): name for name in names
        }
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, timeout=_WAIT_SECONDS, return_when="FIRST_COMPLETED")
                for future in done:
                    name = futures[future]
                    tally.set(name, stamps[name].size)
                    try:
                        parts[name] = future.result()
                    except (TarError, OSError) as error:
                        faults.append(FileProblem(name, str(error)))
                    else:
                        _store_part(parts[name], places)
                pace.tell(min(tally.mib(), total))
        finally:
            for future in pending:
                future.cancel()
    if faults:
        faults.sort(key=lambda problem: names.index(problem.path))
        raise LayoutError(
            f"{len(faults)} of {len(stamps)} shards cannot be used:\n{describe(faults)}",
            hint="write these shards anew, from the files they were made of, or take them out of the folder",
        )
    pace.finish(total)
    return parts


def _scan_one(root: Path, name: str, stamp: FileStamp, max_image_pixels: int, tally: _Tally) -> ShardPart:
    found = scan_shard(root / name, max_image_pixels=max_image_pixels, tell=lambda done: tally.set(name, done))
    entry = ShardEntry(
        name=name,
        num_bytes=stamp.size,
        mtime_ns=stamp.mtime_ns,  # from before it was read: a shard that is written meanwhile is read again
        num_images=len(found.records),
        ignored=found.ignored,
        problems=found.problems,
        max_image_pixels=found.max_image_pixels,
    )
    return ShardPart(entry, found.records, found.labels)


def _store_part(part: ShardPart, places: Sequence[Path]) -> None:
    """Where it can be written first; if nowhere, only the way back after an interruption is lost."""
    for place in places:
        with suppress(OSError):
            write_side_index(_part_path(place, part.entry.name), [part])
            return


def _store(parts: Sequence[ShardPart], places: Sequence[Path]) -> tuple[SideIndex, tuple[str, ...]]:
    """Write the index where it can be written, and open it there; otherwise it stays in memory, with a note."""
    reason = ""
    for place in places:
        try:
            write_side_index(place, parts)
            index = read_side_index(place)
        except OSError as error:
            reason = reason or str(error)
            continue
        for other in places:
            shutil.rmtree(_parts_folder(other), ignore_errors=True)
        return index, ()
    return _in_memory(parts), (
        f"the index of the shards cannot be written to {places[0]} ({reason}) nor to {places[1]}: the shards are read "
        "again each time; set ANYSIZE_CACHE to a folder that can be written",
    )


def _in_memory(parts: Sequence[ShardPart]) -> SideIndex:
    labels: dict[str, int] = {}
    records = []
    for part in parts:
        own = np.array(part.records)
        known = own["label"] < len(part.labels)
        numbers = [labels.setdefault(label, len(labels)) for label in part.labels]
        own["label"][known] = np.array([*numbers, 0], np.uint16)[own["label"][known]]
        records.append(own)
    return SideIndex([part.entry for part in parts], tuple(labels), np.concatenate(records), None)
