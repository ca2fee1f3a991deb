"""Decode every image once before training: broken files are found now, and pixel statistics come with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS
from anysize.data.index import ImageCheck, Progress, SizeIndex
from anysize.data.problems import FileProblem, describe
from anysize.data.statistics import merged
from anysize.errors import DataError, UnreadableImagesError

__all__ = ["CheckResult", "check_images", "summarised"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What decoding a set of images has shown.

    Args:
        problems: files that cannot be decoded to their end, in path order.
        remarks: files that can, but about which something should be known (a stretched range, say).
        num_images: good images.
        num_pixels: of all good images together.
        mean: per channel over all those pixels, in units of 0..255.
        std: per channel, population standard deviation in units of 0..255; at least `statistics.MIN_STD`.
    """

    problems: tuple[FileProblem, ...]
    remarks: tuple[FileProblem, ...]
    num_images: int
    num_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def check_images(
    root: Path,
    paths: Sequence[str],
    channels: Literal[1, 3],
    *,
    index: SizeIndex,
    workers: int | None = None,
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
    progress: Progress | None = None,
) -> CheckResult:
    """Decode every file that ``index`` has not seen decoded as it is now, and add up the statistics.

    Args:
        root: folder that ``paths`` are relative to.
        paths: images.
        channels: 1 or 3: how the images will be read.
        index: remembers the outcome for each file.
        workers: threads; None for one per processor.
        max_image_pixels: height x width above which a file is a problem.
        progress: told (files done, files in all).

    Raises:
        UnreadableImagesError: not one of the images can be read.
        DataError: ``paths`` is empty.
    """
    found = index.check(
        [root / path for path in paths], workers=workers, max_image_pixels=max_image_pixels, progress=progress
    )
    return summarised(paths, found, channels)


def summarised(paths: Sequence[str], found: Sequence[ImageCheck | FileProblem], channels: Literal[1, 3]) -> CheckResult:
    """The `CheckResult` of files that are checked already; ``found`` belongs to ``paths``, item by item."""
    pairs = list(zip(paths, found, strict=True))
    problems = tuple(FileProblem(path, item.reason) for path, item in pairs if isinstance(item, FileProblem))
    good = [(path, item) for path, item in pairs if isinstance(item, ImageCheck)]
    total = merged(item.stats(channels) for _, item in good)
    if total is None:
        if not problems:
            raise DataError("no images were given to check", hint="give at least one image")
        raise UnreadableImagesError(
            f"none of the {len(problems)} images can be read:\n{describe(problems)}",
            hint="see the reasons above; convert the images to JPEG or PNG, or give another folder",
        )
    return CheckResult(
        problems=problems,
        remarks=tuple(FileProblem(path, item.remark) for path, item in good if item.remark is not None),
        num_images=len(good),
        num_pixels=total.num_pixels,
        mean=total.mean(),
        std=total.std(),
    )
