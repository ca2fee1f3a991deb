"""Headers and decode checks of many files: in parallel, and only of those that are new or have changed."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from PIL import Image

from anysize.data import images
from anysize.data.cache import FileCache, FileStamp, default_cache_path
from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS, ImageHeader, ImageReadError
from anysize.data.pillow import too_large
from anysize.data.problems import FileProblem
from anysize.data.statistics import PixelStats, pixel_stats

__all__ = ["ImageCheck", "Progress", "SizeIndex", "default_workers"]

Progress = Callable[[int, int], None]
"""Told (files done, files in all) from time to time, always from the calling thread."""

# Written to the cache after each block, so that an interrupted scan of a million files goes on where it
# stopped.
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


@dataclass(frozen=True)
class _Kind(Generic[_Found]):
    """One thing to find out about a file, and how it is written down."""

    name: str
    read: Callable[[Path, int], _Found]
    pack: Callable[[_Found], list[Any]]
    unpack: Callable[[list[Any]], _Found]
    pixels: Callable[[_Found], int]


def default_workers() -> int:
    """The processors this process may use, at most 16."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(available, 16)


class SizeIndex:
    """The known headers and decode checks of image files, kept in one sqlite file between runs.

    An entry holds as long as the file's size and modification time do. A cache that cannot be used is done
    without; `notes` tells of it. Not to be shared between threads; processes may share the file.

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
        paths: Sequence[Path],
        *,
        workers: int | None = None,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        progress: Progress | None = None,
    ) -> list[ImageHeader | FileProblem]:
        """The header of every file, or what is wrong with it, in the order of ``paths``; nothing is decoded.

        Args:
            paths: files.
            workers: threads; None for `default_workers`.
            max_image_pixels: height x width above which a file is a problem.
            progress: told how far it is.
        """
        return self._find(_HEADER, paths, workers, max_image_pixels, progress)

    def check(
        self,
        paths: Sequence[Path],
        *,
        workers: int | None = None,
        max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
        progress: Progress | None = None,
    ) -> list[ImageCheck | FileProblem]:
        """Decode every file to its end: its statistics, or what is wrong with it. Arguments as of `scan`."""
        return self._find(_CHECK, paths, workers, max_image_pixels, progress)

    def _find(
        self,
        kind: _Kind[_Found],
        paths: Sequence[Path],
        workers: int | None,
        max_image_pixels: int,
        progress: Progress | None,
    ) -> list[_Found | FileProblem]:
        results: list[_Found | FileProblem] = []
        # Threads: Pillow releases the interpreter lock while it decodes, and so does reading from disk.
        with ThreadPoolExecutor(max(1, default_workers() if workers is None else workers)) as pool:
            for start in range(0, len(paths), _BLOCK):
                block = paths[start : start + _BLOCK]
                found = self._find_block(kind, block, pool, max_image_pixels)
                results.extend(found)
                if progress is not None:
                    progress(len(results), len(paths))
        return results

    def _find_block(
        self, kind: _Kind[_Found], paths: Sequence[Path], pool: ThreadPoolExecutor, max_image_pixels: int
    ) -> list[_Found | FileProblem]:
        # Stamped before reading: a file that is written meanwhile is then known by its old stamp, and read
        # again.
        stamps = {path: stamp for path in paths if (stamp := FileStamp.of(path)) is not None}
        found: dict[Path, _Found | ImageReadError] = {}
        for path, value in self._cache.get(kind.name, stamps).items():
            if (known := _unpacked(kind, value)) is not None:
                found[path] = known
        missing = [path for path in dict.fromkeys(paths) if path not in found]
        read = dict(zip(missing, pool.map(lambda path: _attempt(kind, path, max_image_pixels), missing), strict=True))
        self._cache.put(
            kind.name,
            [
                (path, stamps[path], _packed(kind, value))
                for path, value in read.items()
                if path in stamps and (not isinstance(value, ImageReadError) or value.lasting)
            ],
        )
        found.update(read)
        results: list[_Found | FileProblem] = []
        for path in paths:
            value = found[path]
            if isinstance(value, ImageReadError):
                results.append(FileProblem(str(path), value.reason))
            elif kind.pixels(value) > max_image_pixels:  # the entry comes from a run with a higher cap
                results.append(FileProblem(str(path), too_large(kind.pixels(value), max_image_pixels).reason))
            else:
                results.append(value)
        return results


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


def _attempt(kind: _Kind[_Found], path: Path, max_image_pixels: int) -> _Found | ImageReadError:
    try:
        return kind.read(path, max_image_pixels)
    except ImageReadError as error:
        return error


def _read_check(path: Path, max_image_pixels: int) -> ImageCheck:
    pixels, remark = images.read_with_remark(path, 3, max_image_pixels=max_image_pixels)
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
    read=lambda path, cap: images.read_header(path, max_image_pixels=cap),
    pack=lambda header: list(astuple(header)),
    unpack=lambda value: ImageHeader(*value),
    pixels=lambda header: header.height * header.width,
)
_CHECK = _Kind[ImageCheck](
    name="check",
    read=_read_check,
    pack=lambda check: list(astuple(check)),
    unpack=_unpack_check,
    pixels=lambda check: check.rgb.num_pixels,
)
