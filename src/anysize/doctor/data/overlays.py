"""A sheet of a few images as they will be learnt from: with their masks over them, or with their classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.images import ImageReadError, read_image
from anysize.data.masks.coding import MaskCoding
from anysize.data.masks.reading import read_mask
from anysize.doctor.data.raw_masks import RawColors
from anysize.doctor.data.survey import Pair, Part, Seen, Survey
from anysize.errors import DataError

__all__ = ["MOST_SHOWN", "choose_images", "choose_pairs", "draw_sheet"]

MOST_SHOWN = 12
_SIDE = 660  # pixels: larger images are shrunk on reading, so that the sheet holds little


def choose_pairs(pairs: Sequence[Pair], most: int = MOST_SHOWN) -> list[Pair]:
    """Pairs to show: for each class, the rarest first, one that is rich in it; then others spread over the sizes.

    At most ``most``, and always the smallest and the largest. Those with values that name no class come where there are
    no others, and two of them in any case.
    """
    readable = [pair for pair in pairs if pair.counts is not None]
    odd = _some([pair for pair in pairs if pair.counts is None], 2 if readable else most)
    most -= len(odd)
    return [*odd, *_choose_pairs(readable, most)]


def _some(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At even places of the list."""
    places = np.linspace(0, len(pairs) - 1, min(most, len(pairs))).round().astype(int)
    return [pairs[place] for place in places]


def _choose_pairs(readable: list[Pair], most: int) -> list[Pair]:
    # Where not one mask has its image's size, they are shown nevertheless, stretched: that tells what they are.
    usable = [pair for pair in readable if pair.image_size == pair.look.size] or readable
    if len(usable) <= most:
        return usable
    counts = np.stack([pair.counts[:-1] for pair in usable if pair.counts is not None])
    areas = np.array([pair.look.size[0] * pair.look.size[1] for pair in usable], np.int64)
    chosen = [int(np.argmin(areas)), int(np.argmax(areas))]
    holding = (counts > 0).sum(axis=0)
    for label in np.argsort(holding, kind="stable"):
        if len(chosen) >= max(most - 4, 2):
            break
        if holding[label] and not (counts[chosen, label] > 0).any():
            chosen.append(int(np.argmax(counts[:, label] / areas)))
    return [usable[index] for index in sorted(_spread(chosen, areas, most), key=lambda index: (areas[index], index))]


def choose_images(seen: Sequence[Seen], labels: Sequence[int | None], most: int = MOST_SHOWN) -> list[Seen]:
    """Images to show: one of each class in turn, the smallest and the largest first; at most ``most``."""
    if len(seen) <= most:
        return list(seen)
    areas = np.array([item.look.size[0] * item.look.size[1] for item in seen], np.int64)
    chosen = [int(np.argmin(areas)), int(np.argmax(areas))]
    have = {labels[index] for index in chosen}
    for index, label in enumerate(labels):
        if len(chosen) >= max(most - 4, 2):
            break
        if label not in have:
            have.add(label)
            chosen.append(index)
    return [seen[index] for index in sorted(_spread(chosen, areas, most), key=lambda index: (areas[index], index))]


def draw_sheet(path: Path, survey: Survey, coding: MaskCoding | None, *, title: str, max_image_pixels: int) -> bool:
    """Draw the sheet to ``path``, PNG; False where nothing can be shown."""
    if survey.task == "segment":
        if coding is None:
            return False
        return _draw_masks(path, survey, coding, title, max_image_pixels)
    return _draw_classes(path, survey, title, max_image_pixels)


def _draw_masks(path: Path, survey: Survey, coding: MaskCoding, title: str, max_image_pixels: int) -> bool:
    from anysize.reporting.segmentation import OverlayItem, draw_overlay_sheet

    items = []
    colors = RawColors(survey.classes, survey.palette)
    for pair in choose_pairs(survey.pairs):
        try:
            image = read_image(survey.root / pair.image, 3, max_image_pixels=max_image_pixels)
            mask = _read(survey.root / pair.path, coding, colors, max_image_pixels)
        except ImageReadError:  # other checks name it
            continue
        picture = Image.fromarray(image)
        picture.thumbnail((_SIDE, _SIDE))
        name = f"{pair.part}: {pair.image}"
        if mask.shape != image.shape[:2]:
            name += f" (image {image.shape[0]}x{image.shape[1]}, mask stretched)"
        items.append(OverlayItem(image=np.asarray(picture), name=name, truth=mask))
    if not items:
        return False
    draw_overlay_sheet(path, items, colors.palette, colors.classes, title)
    return True


def _read(path: Path, coding: MaskCoding, colors: RawColors, max_image_pixels: int) -> NDArray[np.uint8]:
    """The classes of a mask; of one that other checks refuse, what is known, and its own colours."""
    try:
        return read_mask(path, coding, max_image_pixels=max_image_pixels)
    except DataError:
        return colors.read(path, coding, max_image_pixels=max_image_pixels)


def _draw_classes(path: Path, survey: Survey, title: str, max_image_pixels: int) -> bool:
    from anysize.reporting.preview import PreviewItem, draw_preview

    tables = {part.name: part for part in survey.parts}
    items = []
    for item in choose_images(survey.seen, [_label(tables[item.part], item.row) for item in survey.seen]):
        part = tables[item.part]
        try:
            image = read_image(part.table.image(item.row), 3, max_image_pixels=max_image_pixels)
        except ImageReadError:  # other checks name it
            continue
        picture = Image.fromarray(image)
        picture.thumbnail((_SIDE, _SIDE))
        label = _label(part, item.row)
        truth = None if label is None else survey.classes[label]
        name = f"{item.part}: {item.path}"
        items.append(PreviewItem(image=np.asarray(picture), name=name, truth=truth, size=item.look.size))
    if not items:
        return False
    draw_preview(path, items, title=title)
    return True


def _label(part: Part, row: int) -> int | None:
    return None if part.table.labels is None else int(part.table.labels[row])


def _spread(chosen: list[int], areas: "np.ndarray[tuple[int], np.dtype[np.int64]]", most: int) -> list[int]:
    """With others at even ranks of the size, until there are ``most``."""
    kept = list(dict.fromkeys(chosen))
    order = np.argsort(areas, kind="stable")
    for place in np.linspace(0, len(order) - 1, 2 * most).round().astype(int):
        if len(kept) >= most:
            break
        if int(order[place]) not in kept:
            kept.append(int(order[place]))
    return kept
