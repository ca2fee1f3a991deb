"""Headers and decode checks of many files: in parallel, and only of those that are new or have changed."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from PIL import Image

from anysize.data import images
from anysize.data.cache import FileCache, FileStamp, default_cache_path, file_key
from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS, ByteSource, ImageHeader, ImageReadError
from anysize.data.masks.facts import MaskFacts, pack_facts, read_facts, unpack_facts
from anysize.data.masks.values import read_orientation
from anysize.data.pillow import quiet_pillow, too_large
from anysize.data.problems import FileProblem
from anysize.data.statistics import PixelStats, pixel_stats

__all__ = ["ImageCheck", "Pace", "Progress", "SizeIndex", "StampedSource", "default_workers"]

Progress = Callable[[int, int], None]
"""Told (files done, files in all) from time to time, always from the calling thread."""

_TELL_SECONDS = 0.5
# What is found is written down this often, so that a scan that is killed goes on nearly where it stopped.
_STORE_SECONDS = 1.0
# A file may be written again within the resolution of its file system's clock (2 s on FAT), and keep its stamp.
_RACY_NS = 2_000_000_000
# Files whose entries are looked up at a time.
_BLOCK = 2048

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """What decoding one image has shown: its statistics, as grey and as RGB, and perhaps a remark."""

    grey: PixelStats
    rgb: PixelStats
    remark: str | None

    def stats(self, channels: Literal[1, 3]) -> PixelStats:
        """The statistics as the image is read with this many channels."""
        return self.grey if channels == 1 else self.rgb


class StampedSource(ByteSource, Protocol):
    """An image that is no file of its own, and by what the index knows it. Its text is its name for people."""

    @property
    def key(self) -> bytes:
        """Tells it from any other image, in this run and the next."""

    @property
    def stamp(self) -> FileStamp:
        """Changes when the image does."""


_Item = Path | str | StampedSource


class Pace:
    """Tells of progress, but not more often than is of use.

    Args:
        progress: told (done, in all); None to tell nobody.
        total: how much there is in all.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._next = time.monotonic() + _TELL_SECONDS

    def tell(self, done: int) -> None:
        """Tell of it if half a second has passed."""
        if time.monotonic() >= self._next:
            self.finish(done)

    def finish(self, done: int) -> None:
        """Tell of it now."""
        self._next = time.monotonic() + _TELL_SECONDS
        if self._progress is not None:
            self._progress(done, self._total)


@dataclass(frozen=True)
class _Kind(Generic[_Found]):
    """One thing to find out about a file, and how it is written down."""

    name: str
    chunk: int  # files that a thread reads in one go: enough to make handing them over cheap
    read: Callable[[Path | str | ByteSource, int], _Found]
    pack: Callable[[_Found], list[Any]]
    unpack: Callable[[list[Any]], _Found]
    pixels: Callable[[_Found], int]


def default_workers() -> int:
    """The processors this process may use, at most 16."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(available, 16)


class SizeIndex:
    """The known headers and decode checks of image files, kept in one sqlite file between runs.

    An entry holds as long as the file's size and modification time do, and none is kept of a file that was written
    less than two seconds before. A cache that cannot be used is done without; `notes` tells of it. Not to be shared
    between threads; processes may share the file.

    Args:
        path: the sqlite file; None for ``$ANYSIZE_CACHE/index.sqlite`` or ``~/.cache/anysize/index.sqlite``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._cache = FileCache(default_cache_path() if path is None else path)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the cache itself, each said once."""
        return tuple(self._cache.notes)

    def __enter__(self) -> "SizeIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sqlite file."""
        self._cache.close()

    def scan(
        self,
        paths: Sequence[Path | str | StampedSource],
        *,
        workers: int | None = None,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        progress: Progress | None = None,
    ) -> list[ImageHeader | FileProblem]:
        """The header of every file, or what is wrong with it, in the order of ``paths``; nothing is decoded.

        Args:
            paths: files, or images within others.
            workers: threads; None for `default_workers`.
            max_image_pixels: height x width above which a file is a problem.
            progress: told how far it is, every half second and at the end.
        """
        return self._find(_HEADER, paths, workers, max_image_pixels, progress)

    def check(
        self,
        paths: Sequence[Path | str | StampedSource],
        *,
        workers: int | None = None,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        progress: Progress | None = None,
    ) -> list[ImageCheck | FileProblem]:
        """Decode every file to its end: its statistics, or what is wrong with it. Arguments as of `scan`."""
        return self._find(_CHECK, paths, workers, max_image_pixels, progress)

    def masks(
        self,
        paths: Sequence[Path | str],
        *,
        workers: int | None = None,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        progress: Progress | None = None,
    ) -> list[MaskFacts | FileProblem]:
        """Decode every label mask: which values it holds, or what is wrong with it. Arguments as of `scan`."""
        return self._find(_MASK, paths, workers, max_image_pixels, progress)

    def orientations(
        self,
        paths: Sequence[Path | str],
        *,
        workers: int | None = None,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
    ) -> list[int | FileProblem]:
        """The EXIF orientation of every image, 1 to 8; nothing is decoded. Arguments as of `scan`."""
        return self._find(_ORIENTATION, paths, workers, max_image_pixels, None)

    def _find(
        self,
        kind: _Kind[_Found],
        paths: Sequence[_Item],
        workers: int | None,
        max_image_pixels: int,
        progress: Progress | None,
    ) -> list[_Found | FileProblem]:
        workers = max(1, default_workers() if workers is None else workers)
        # Threads: reading from disk and decoding release the interpreter lock. Headers are parsed under it, and yet
        # processes that parse them gained nothing: they cost as much to start and to talk to.
        results: list[_Found | FileProblem] = []
        pace = Pace(progress, len(paths))
        ahead: deque[_Block[_Found]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for start in range(0, len(paths), _BLOCK):
                    # One block is looked up while the one before is read.
                    block = _Block(kind, paths[start : start + _BLOCK])
                    self._begin(block, pool, max_image_pixels)
                    ahead.append(block)
                    if len(ahead) > 1:
                        self._finish(ahead.popleft(), results, max_image_pixels, pace)
                while ahead:
                    self._finish(ahead.popleft(), results, max_image_pixels, pace)
            finally:
                for block in ahead:
                    block.cancel()
        if paths:
            pace.finish(len(results))
        return results

    def _begin(self, block: "_Block[_Found]", pool: ThreadPoolExecutor, max_image_pixels: int) -> None:
        """Look up what is known of the block, and have the rest read."""
        kind = block.kind
        for key, value in self._cache.get(kind.name, block.stamps).items():
            if (known := _unpacked(kind, value)) is not None:
                block.found[key] = known
        missing = [key for key in block.items if key not in block.found]
        for start in range(0, len(missing), kind.chunk):
            chunk = missing[start : start + kind.chunk]
            items = [block.items[key] for key in chunk]
            block.chunks.append((chunk, pool.submit(_attempt_all, kind, items, max_image_pixels)))

    def _finish(
        self, block: "_Block[_Found]", results: list[_Found | FileProblem], max_image_pixels: int, pace: Pace
    ) -> None:
        """Wait for the block and add its results; what is read is written down as it comes, also when interrupted."""
        kind, found = block.kind, block.found
        unsaved: list[bytes] = []
        num_done = len(results) + len(block.paths) - sum(len(chunk) for chunk, _ in block.chunks)
        store_at = time.monotonic() + _STORE_SECONDS
        try:
            for chunk, future in block.chunks:
                while not wait([future], timeout=_TELL_SECONDS).done:
                    pace.tell(num_done)
                found.update(zip(chunk, future.result(), strict=True))
                unsaved += chunk
                num_done += len(chunk)
                pace.tell(num_done)
                if time.monotonic() >= store_at:
                    self._store(block, unsaved)
                    unsaved, store_at = [], time.monotonic() + _STORE_SECONDS
        finally:
            block.cancel()
            self._store(block, unsaved)
        for key, path in zip(block.keys, block.paths, strict=True):
            value = found[key]
            if isinstance(value, ImageReadError):
                results.append(FileProblem(str(path), value.reason))
            elif kind.pixels(value) > max_image_pixels:  # the entry comes from a run with a higher cap
                results.append(FileProblem(str(path), too_large(kind.pixels(value), max_image_pixels).reason))
            else:
                results.append(value)

    def _store(self, block: "_Block[_Found]", keys: Sequence[bytes]) -> None:
        entries = [(key, block.stamps[key], block.found[key]) for key in keys if key in block.stamps]
        self._cache.put(
            block.kind.name,
            [
                (key, stamp, _packed(block.kind, value))
                for key, stamp, value in entries
                if not isinstance(value, ImageReadError) or value.lasting
            ],
        )


class _Block(Generic[_Found]):
    """Files that are looked up and read together."""

    def __init__(self, kind: _Kind[_Found], paths: Sequence[_Item]) -> None:
        self.kind = kind
        self.paths = paths
        self.keys = [_key(path) for path in paths]
        self.items = dict(zip(self.keys, paths, strict=True))
        # Stamped before reading: a file that is written meanwhile is then known by its old stamp, and read
        # again. One that was written a moment ago is not known by its stamp at all.
        now = time.time_ns()
        self.stamps = {
            key: stamp
            for key, item in self.items.items()
            if (stamp := _stamp(item)) is not None and abs(now - stamp.mtime_ns) > _RACY_NS
        }
        self.found: dict[bytes, _Found | ImageReadError] = {}
        self.chunks: list[tuple[list[bytes], Future[list[_Found | ImageReadError]]]] = []

    def cancel(self) -> None:
        """Nothing more is to be read."""
        for _, future in self.chunks:
            future.cancel()


def _key(item: _Item) -> bytes:
    return file_key(item) if isinstance(item, Path | str) else item.key


def _stamp(item: _Item) -> FileStamp | None:
    return FileStamp.of(item) if isinstance(item, Path | str) else item.stamp


def _unpacked(kind: _Kind[_Found], value: Any) -> _Found | ImageReadError | None:
    """A stored value, or None if it is not as `_packed` writes it."""
    try:
        if "reason" in value:
            return ImageReadError(str(value["reason"]))
        return kind.unpack(value["found"])
    except (TypeError, ValueError, KeyError):
        return None


def _packed(kind: _Kind[_Found], value: _Found | ImageReadError) -> dict[str, Any]:
    return {"reason": value.reason} if isinstance(value, ImageReadError) else {"found": kind.pack(value)}


def _attempt_all(kind: _Kind[_Found], items: Sequence[_Item], max_image_pixels: int) -> list[_Found | ImageReadError]:
    results: list[_Found | ImageReadError] = []
    with quiet_pillow:
        for item in items:
            try:
                results.append(kind.read(item, max_image_pixels))
            except ImageReadError as error:
                results.append(error)
    return results


def _read_check(source: Path | str | ByteSource, max_image_pixels: int) -> ImageCheck:
    pixels, remark = images.read_with_remark(source, 3, max_image_pixels=max_image_pixels)
    # `decode` defines grey as the luma of the RGB image, so one decoding serves both.
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return ImageCheck(pixel_stats(grey), pixel_stats(pixels), remark)


def _unpack_check(value: list[Any]) -> ImageCheck:
    grey, rgb, remark = value
    return ImageCheck(_unpack_stats(grey), _unpack_stats(rgb), remark)


def _unpack_stats(value: list[Any]) -> PixelStats:
    num_pixels, sums, squares = value
    return PixelStats(int(num_pixels), tuple(map(int, sums)), tuple(map(int, squares)))


_HEADER = _Kind[ImageHeader](
    name="header",
    chunk=32,
    read=lambda path, cap: images.read_header(path, max_image_pixels=cap),
    pack=lambda header: [header.height, header.width, header.channels, header.frames, header.format],
    unpack=lambda value: ImageHeader(*value),
    pixels=lambda header: header.height * header.width,
)
_CHECK = _Kind[ImageCheck](
    name="check",
    chunk=2,
    read=_read_check,
    pack=lambda check: list(astuple(check)),
    unpack=_unpack_check,
    pixels=lambda check: check.rgb.num_pixels,
)
_MASK = _Kind[MaskFacts](
    name="mask",
    chunk=4,
    read=read_facts,
    pack=pack_facts,
    unpack=unpack_facts,
    pixels=lambda facts: facts.height * facts.width,
)
_ORIENTATION = _Kind[int](
    name="orientation",
    chunk=32,
    read=lambda path, cap: read_orientation(path, max_image_pixels=cap),
    pack=lambda orientation: [orientation],
    unpack=lambda value: int(value[0]),
    pixels=lambda _: 0,
)
