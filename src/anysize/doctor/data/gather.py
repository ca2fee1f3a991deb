"""From a folder to a survey: every table, a look at each file (or a sample), and who is whose copy."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anysize.data.images import ByteSource, ImageReadError
from anysize.data.index import Progress
from anysize.data.pillow import quiet_pillow
from anysize.data.problems import FileProblem
from anysize.doctor.data.look import ImageLook, MaskLook, look_at_image, look_at_mask
from anysize.doctor.data.survey import Pair, Part, Seen

__all__ = ["Looked", "chosen_rows", "in_threads", "look_at_all"]

_SEED = 0
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a look at many images and their masks has shown."""

    seen: tuple[Seen, ...]
    pairs: tuple[Pair, ...]
    unreadable: tuple[FileProblem, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    part: Part
    row: int
    max_image_pixels: int

    @property
    def path(self) -> str:
        return self.part.table.paths[self.row]

    @property
    def source(self) -> Path | ByteSource:
        return self.part.table.image(self.row)

    @property
    def mask(self) -> str | None:
        return None if self.part.table.masks is None else self.part.table.masks[self.row]


def chosen_rows(parts: Sequence[Part], most: int) -> list[tuple[Part, list[int]]]:
    """Which rows of each part to look at: all, or a uniform draw that is the same each time.

    Each part gets a share by its size, and at least one image.
    """
    total = sum(len(part.table) for part in parts)
    if total <= most:
        return [(part, list(range(len(part.table)))) for part in parts]
    generator = np.random.default_rng(_SEED)
    chosen = []
    for part in parts:
        count = min(len(part.table), max(1, round(most * len(part.table) / total)))
        rows = generator.choice(len(part.table), count, replace=False)
        chosen.append((part, sorted(rows.tolist())))
    return chosen


def look_at_all(
    chosen: Sequence[tuple[Part, list[int]]],
    *,
    max_image_pixels: int,
    progress: Progress,
) -> Looked:
    """Decode the chosen images and their masks, in threads; no more than a few at a time are held.

    Args:
        chosen: from `chosen_rows`.
        max_image_pixels: files that claim more are problems.
        progress: told (images done, images in all).
    """
    jobs = [_Job(part, row, max_image_pixels) for part, rows in chosen for row in rows]
    seen: list[Seen] = []
    pairs: list[Pair] = []
    problems: list[FileProblem] = []
    with quiet_pillow:
        for done, (job, (image, mask, pair)) in enumerate(zip(jobs, in_threads(_look, jobs), strict=True), 1):
            if isinstance(image, ImageLook):
                seen.append(Seen(path=job.path, part=job.part.name, row=job.row, look=image))
            else:
                problems.append(FileProblem(job.path, image.reason))
            if isinstance(mask, ImageReadError):
                problems.append(FileProblem(job.mask or "", mask.reason))
            elif pair is not None:
                pairs.append(pair)
            progress(done, len(jobs))
    return Looked(seen=tuple(seen), pairs=tuple(pairs), unreadable=tuple(problems))


def in_threads(function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """``map`` in order, with a few items on their way at a time."""
    workers = min(16, os.cpu_count() or 1)
    left = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        running: list[Future[_Out]] = [pool.submit(function, item) for item in islice(left, 4 * workers)]
        while running:
            yield running.pop(0).result()
            running.extend(pool.submit(function, item) for item in islice(left, 1))


def _look(job: _Job) -> tuple[ImageLook | ImageReadError, MaskLook | ImageReadError | None, Pair | None]:
    image: ImageLook | ImageReadError
    mask: MaskLook | ImageReadError | None = None
    pair = None
    try:
        image = look_at_image(job.source, max_image_pixels=job.max_image_pixels)
    except ImageReadError as error:
        image = error
    if job.mask is not None:
        path = job.part.table.root / job.mask
        try:
            mask = look_at_mask(path, max_image_pixels=job.max_image_pixels)
            height, width = job.part.table.sizes[job.row].tolist()
            pair = Pair(
                path=job.mask,
                image=job.path,
                part=job.part.name,
                row=job.row,
                image_size=(height, width),
                look=mask,
                counts=_counts(job.part, job.row),
            )
        except ImageReadError as error:
            mask = error
    return image, mask, pair


def _counts(part: Part, row: int) -> NDArray[np.int64] | None:
    """(K + 1,) pixels of each class in one mask, and of those ignored; None where some have no meaning."""
    census = part.census
    if census is None or census.unknown[row]:
        return None
    return np.append(census.counts[row].astype(np.int64), census.ignored[row])
