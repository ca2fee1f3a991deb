"""Masks that do not lie on their images though their sizes fit: all of them turned or shifted, the old ones kept."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anysize.atomic import atomic_path
from anysize.data.formats import Listing
from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS, ImageReadError, read_header
from anysize.data.masks.rewriting import listed_masks, unreadable, write_values
from anysize.data.masks.values import MaskValues, read_orientation, read_values
from anysize.data.problems import printable
from anysize.errors import DataError, UsageError

__all__ = ["Move", "Turn", "kept_folder", "move_masks", "restore_masks"]

Turn = Literal["mirror", "upside down", "half turn", "transpose", "left", "right", "transverse"]
Move = Turn | tuple[int, int]
"""A turn, or (down, right) in pixels."""

_Fill = int | tuple[int, int, int]
_TABLE = "masks.json"
"""In a folder of old masks, where each belongs: a path from the data's root, or an absolute one."""

_TURNS: dict[Turn, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "mirror": lambda values: values[:, ::-1],
    "upside down": lambda values: values[::-1],
    "half turn": lambda values: values[::-1, ::-1],
    "transpose": lambda values: values.swapaxes(0, 1),
    "left": lambda values: np.rot90(values),
    "right": lambda values: np.rot90(values, -1),
    "transverse": lambda values: values[::-1, ::-1].swapaxes(0, 1),
}


def move_masks(
    root: Path | str,
    how: Move,
    *,
    fill: _Fill = 255,
    kept: Path | str | None = None,
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
) -> int:
    """Turn all masks, or shift them, and keep the old ones; square masks, too, which no size shows to be wrong.

    A mask that would not lie on its image once it is turned is left as it is: where height and width differ, those that
    lie on their images already. The old masks are copied to ``kept`` first; while it exists nothing is moved again, and
    `restore_masks` undoes the move. On an error every mask is as it was.

    Args:
        root: data as `load_data` takes them.
        how: "mirror" (left to right), "upside down", "half turn", "transpose", to the "left" or "right" by a quarter,
            "transverse" (the other diagonal); or by how many pixels (down, right), negative ones up and left.
        fill: what a shift leaves open is given this value; (red, green, blue) in masks in colour.
        kept: a new folder for the old masks, outside the data; None for `kept_folder`.
        max_image_pixels: height x width above which a file is refused.

    Returns:
        How many masks were written anew.

    Raises:
        DataError: there are no masks; one cannot be read, is of another size than its image, does not take ``fill``, or
            its format would change its values.
        UsageError: ``how`` is something else; ``kept`` exists, or lies in the data.
    """
    _check_move(how)
    listing, masks = listed_masks(root)
    folder = kept_folder(root) if kept is None else Path(kept)
    _check_kept(root, listing, folder, default=kept is None)
    # A mask that several images share, or that has several names, is moved once.
    pairs = {(listing.root / mask).resolve(): (image, mask) for image, mask in zip(listing.paths, masks, strict=True)}
    chosen = [place for place, names in pairs.items() if _is_moved(listing, names, how, max_image_pixels)]
    if not chosen:
        return 0
    kept_places = _keep(listing, chosen, folder)
    written = 0
    try:
        for place in chosen:
            _move(place, how, fill, max_image_pixels)
            written += 1
    except BaseException as error:
        if written:
            restore_masks(root, kept=folder)
        else:
            _forget(folder, kept_places)
        names = pairs[chosen[written]]
        if isinstance(error, ImageReadError):
            raise unreadable(*names, error) from error
        if isinstance(error, OSError):
            raise DataError(
                f"mask {printable(names[1])} cannot be written: {error.strerror}; every mask is as it was",
                hint="let its folder be written to, and run it again",
            ) from error
        raise
    return len(chosen)


def restore_masks(root: Path | str, *, kept: Path | str | None = None) -> int:
    """Put the masks back that `move_masks` kept, and delete the folder that kept them.

    Args:
        root: as `move_masks` had it.
        kept: as `move_masks` had it.

    Returns:
        How many masks were put back.

    Raises:
        UsageError: there is no such folder, or it is another one.
    """
    listing, _ = listed_masks(root)
    folder = kept_folder(root) if kept is None else Path(kept)
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}: no masks of {root} are kept there",
            hint="kept= names the folder that move_masks was given",
        )
    table = folder / _TABLE
    if not table.is_file():
        raise UsageError(
            f"{folder} is no folder that move_masks has made: it holds no {_TABLE}",
            hint="kept= names the folder that move_masks was given",
        )
    places: dict[str, str] = json.loads(table.read_text(encoding="utf-8"))
    for name, place in places.items():
        copy, target = folder / name, listing.root.absolute() / place
        with atomic_path(target) as temporary:
            shutil.copyfile(copy, temporary)
        shutil.copymode(copy, target)
    _forget(folder, places)
    return len(places)


def kept_folder(root: Path | str) -> Path:
    """Where `move_masks` keeps the old masks of ``root`` unless told: beside the folder of the data."""
    data = Path(root).absolute()
    data = data.parent if data.is_file() else data
    data = data.resolve() if data.name in ("", "..") else data
    return data.parent / f"{data.name}-masks-before"


def _check_move(how: object) -> None:
    if isinstance(how, str) and how in get_args(Turn):
        return
    if isinstance(how, tuple) and len(how) == 2 and all(isinstance(n, int) for n in how) and how != (0, 0):
        return
    turns = ", ".join(repr(turn) for turn in get_args(Turn))
    raise UsageError(
        f"move_masks was asked to move by {how!r}; it takes {turns}, or whole pixels (down, right) that are not both 0",
        hint="move_masks(root, 'transpose'), or move_masks(root, (-6, 9)): 6 pixels up and 9 to the right",
    )


def _check_kept(root: Path | str, listing: Listing, folder: Path, *, default: bool) -> None:
    if folder.absolute().is_relative_to(listing.root.absolute()):
        raise UsageError(
            f"the old masks would be kept in {folder}, within the data {listing.root}, and taken for data",
            hint=f"kept={str(kept_folder(root))!r}",
        )
    if not folder.exists():
        return
    number = 2
    while folder.with_name(f"{folder.name}-{number}").exists():
        number += 1
    given = "" if default else f", kept={str(folder)!r}"
    raise UsageError(
        f"{folder} exists: masks of {root} were moved before, and are kept there as they were; moved once more they "
        "would be wrong again",
        hint="`from anysize.data.masks.moving import restore_masks; "
        f"restore_masks({str(root)!r}{given})` undoes that; to move them once more all the same, "
        f"kept={str(folder.with_name(f'{folder.name}-{number}'))!r}",
    )


def _keep(listing: Listing, places: list[Path], folder: Path) -> dict[str, str]:
    """Copy the masks into ``folder``, which is there once all of them are; returns where each copy belongs."""
    partial = folder.with_name(f"{folder.name}.partial")
    root = listing.root.resolve()
    kept = {f"{number:06}-{place.name}": place for number, place in enumerate(places)}
    named = {
        name: place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)
        for name, place in kept.items()
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed before it moved anything
        partial.mkdir(parents=True)
        for name, place in kept.items():
            shutil.copy2(place, partial / name)
            _sync(partial / name)
        with atomic_path(partial / _TABLE) as temporary:
            temporary.write_text(json.dumps(named, indent=1), encoding="utf-8")
        partial.rename(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)  # no mask was touched yet
        if isinstance(error, OSError):
            raise DataError(
                f"the old masks cannot be kept in {folder}: {error.strerror}; no mask was moved",
                hint="kept= names another new folder",
            ) from error
        raise
    return named


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _forget(folder: Path, kept: dict[str, str]) -> None:
    """Delete what `_keep` has made, and nothing that somebody else has put beside it."""
    for name in (_TABLE, *kept):
        (folder / name).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_moved(listing: Listing, names: tuple[str, str], how: Move, max_image_pixels: int) -> bool:
    """Whether a mask lies on its image once it is moved.

    Raises:
        DataError: it can do so neither moved nor as it is.
    """
    paths = [listing.root / name for name in names]
    try:
        image, mask = (read_header(path, max_image_pixels=max_image_pixels) for path in paths)
        on_side = [read_orientation(path, max_image_pixels=max_image_pixels) >= 5 for path in paths]
    except ImageReadError as error:
        raise unreadable(*names, error) from error
    size, own = (image.height, image.width), (mask.height, mask.width)
    exchanges = how in ("transpose", "left", "right", "transverse")
    turned = own[::-1] if exchanges else own
    # What EXIF turns otherwise than its image is right as soon as the tag is.
    if turned == size and (own == size or on_side[0] == on_side[1]):
        return True
    if own == size:
        return False
    raise DataError(
        f"mask {printable(names[1])} is {own[0]}x{own[1]}, its image {size[0]}x{size[1]} (height x width): no mask was "
        "moved",
        hint="mend the sizes first, as anysize doctor says",
    )


def _move(place: Path, how: Move, fill: _Fill, max_image_pixels: int) -> None:
    read = read_values(place, max_image_pixels=max_image_pixels)
    if isinstance(how, tuple):
        values = _shifted(place, read, how, fill)
    else:
        values = np.ascontiguousarray(_TURNS[how](read.values))
    write_values(place, read, values, max_image_pixels)


def _shifted(place: Path, read: MaskValues, by: tuple[int, int], fill: _Fill) -> NDArray[Any]:
    most = int(np.iinfo(read.values.dtype).max)
    parts = fill if isinstance(fill, tuple) else (fill,)
    if len(parts) != (3 if read.in_color else 1) or not all(0 <= part <= most for part in parts):
        needed = f"(red, green, blue), each 0 to {most}" if read.in_color else f"one value, 0 to {most}"
        raise DataError(
            f"mask {printable(str(place))} was to be filled with {fill!r}; it takes {needed}",
            hint="fill= the colour that means no label"
            if read.in_color
            else "fill= the value that means no label: 255 unless flags say otherwise",
        )
    values = np.empty_like(read.values)
    values[...] = np.array(fill, values.dtype)
    height, width = values.shape[:2]
    (rows, from_rows), (columns, from_columns) = _overlap(height, by[0]), _overlap(width, by[1])
    values[rows, columns] = read.values[from_rows, from_columns]
    return values


def _overlap(length: int, by: int) -> tuple[slice, slice]:
    """Where the pixels of a side that stay on it are put, and where they come from."""
    stay = max(0, length - abs(by))
    return slice(max(by, 0), max(by, 0) + stay), slice(max(-by, 0), max(-by, 0) + stay)
