"""From flags, layout and the values found to what each value means, and what the classes are called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from anysize.data.formats import Listing
from anysize.data.images import ImageReadError
from anysize.data.masks.coding import IGNORED, UNKNOWN, MaskCoding, index_coding
from anysize.data.masks.facts import NO_COLOR, MaskFacts
from anysize.data.masks.palette import Color, default_palette, pack_color, voc_palette
from anysize.data.masks.reading import classes_of_colors
from anysize.data.masks.rules import IGNORE_NAME, NAME_FILES, ClassNames, MaskRules, PaletteEntry, read_class_names
from anysize.data.masks.values import read_values
from anysize.data.problems import printable
from anysize.errors import DataError

__all__ = ["VOC_CLASSES", "MaskMeaning", "classes_of_rows", "mask_meaning"]

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of Pascal VOC 2007 to 2012, in the order of their indices."""

_VOC_STEM = re.compile(r"20\d\d_\d{6}")
_NO_LABEL_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown", "none"})
_ZERO_NAMES = _NO_LABEL_NAMES | {"background", "other", "others"}
_MOST_CLASSES = 255


@dataclass(frozen=True, kw_only=True)
class MaskMeaning:
    """What the values of the masks of a data set mean.

    Args:
        coding: for `read_mask`.
        classes: K names.
        palette: (red, green, blue) of each class, for drawing.
        names: the names that were given, before any was dropped; None where there are none.
        notes: what was decided, for the user.
        by_layout: the layout says what the values mean, so that they need not be explained by the values found.
    """

    coding: MaskCoding
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    names: ClassNames | None
    notes: tuple[str, ...]
    by_layout: bool = False


def mask_meaning(listing: Listing, rules: MaskRules, masks: Sequence[str], facts: Sequence[MaskFacts]) -> MaskMeaning:
    """Decide what the values mean, from what is said and, where nothing is, from the values that there are.

    Args:
        listing: with masks.
        rules: what the user says.
        masks: the masks that can be read.
        facts: of each of them.

    Raises:
        DataError: names that do not fit the rest of what was said.
    """
    rules = _beside_layout(listing, rules)
    names, notes = _names(listing, rules, masks, facts)
    by_layout = listing.coding is not None and not rules.recoded
    if rules.palette is not None:
        coding, classes = _from_palette(rules.palette, names)
    elif listing.coding is not None and by_layout:
        coding, classes, more = _from_layout(listing, listing.coding, rules, names)
        notes = (*listing.coding_notes, *notes, *more)
    else:
        coding, classes, more = _from_values(rules, names, _top_value(rules, facts))
        notes += more
    if listing.coding is not None and rules.recoded:
        notes = (
            f"the classes and names of the layout {listing.layout} give way to what flags say of the values",
            *notes,
        )
    palette = _colors(listing, rules, coding, masks, facts)
    return MaskMeaning(coding=coding, classes=classes, palette=palette, names=names, notes=notes, by_layout=by_layout)


def classes_of_rows(facts: MaskFacts, coding: MaskCoding) -> NDArray[np.int64]:
    """(M,) what each row of ``facts.table`` means: a class, `IGNORED`, or `UNKNOWN`."""
    if coding.colors is not None:
        grey = facts.values * 0x010101
        packed = np.where(facts.colors == NO_COLOR, np.where(facts.values > 255, UNKNOWN, grey), facts.colors)
        return classes_of_colors(packed.astype(np.int32), coding.colors)
    if facts.in_color:
        return np.full(len(facts.values), UNKNOWN, np.int64)
    lookup = np.array(coding.lookup, np.int64)
    return np.where(facts.values > 255, UNKNOWN, lookup[facts.values.clip(max=255)])


def _beside_layout(listing: Listing, rules: MaskRules) -> MaskRules:
    """``--reduce-zero-label`` says of ADE20K what its layout does; the names stay then."""
    coding = listing.coding
    said = coding is not None and (coding.lookup[0], coding.lookup[1]) == (IGNORED, 0)
    return replace(rules, reduce_zero_label=False) if said else rules


def _top_value(rules: MaskRules, facts: Sequence[MaskFacts]) -> int:
    """The highest value 0..254 in the index masks that is not ignored; -1 if there is none. 255 is never the index of a
    class, as there are 255 classes at most."""
    ignored = sorted(rules.ignored)
    top = -1
    for fact in facts:
        if not fact.in_color:
            values = fact.values[(fact.values < 255) & ~np.isin(fact.values, ignored)]
            top = max(top, int(values.max(initial=-1)))
    return top


def _names(
    listing: Listing, rules: MaskRules, masks: Sequence[str], facts: Sequence[MaskFacts]
) -> tuple[ClassNames | None, tuple[str, ...]]:
    if rules.names is not None:
        return rules.names, ()
    named_by_layout = bool(listing.classes) and not rules.recoded
    if named_by_layout or _is_named(rules.palette):
        return None, ()  # by the layout, or in the palette itself
    files = [listing.root / name for name in NAME_FILES if (listing.root / name).is_file()]
    if files:
        notes = (f"class names are those of {files[0].name}",)
        return read_class_names(files[0]), notes
    if listing.layout == "voc" and not rules.recoded and _is_genuine_voc(masks, facts):
        note = (
            "the files are named and coloured as Pascal VOC's own are (2007_000032, VOC's palette, no value above 20): "
            "its 21 class names are used; --classes FILE gives others"
        )
        return ClassNames(VOC_CLASSES, "Pascal VOC"), (note,)
    return None, ()


def _is_named(palette: tuple[PaletteEntry, ...] | None) -> bool:
    return palette is not None and any(entry.name not in (None, IGNORE_NAME) for entry in palette)


def _is_genuine_voc(masks: Sequence[str], facts: Sequence[MaskFacts]) -> bool:
    """Palette alone is no proof: many tools write VOC's palette into masks of other classes."""
    expected = np.array([pack_color(color) for color in voc_palette(256)], np.int64)
    return bool(facts) and all(
        _VOC_STEM.fullmatch(PurePosixPath(mask).stem)
        and not fact.in_color
        and bool(np.all((fact.values <= 20) | (fact.values == IGNORED)))
        and np.array_equal(fact.colors, expected[fact.values])
        for mask, fact in zip(masks, facts, strict=True)
    )


def _from_palette(entries: tuple[PaletteEntry, ...], names: ClassNames | None) -> tuple[MaskCoding, tuple[str, ...]]:
    labelled = [entry for entry in entries if entry.name != IGNORE_NAME]
    if labelled[0].name is None:
        classes = _sized(names, len(labelled), "--mask-palette")
        number = {entry.color: label for label, entry in enumerate(labelled)}
    else:
        classes = tuple(dict.fromkeys(str(entry.name) for entry in labelled))
        if names is not None:
            classes = _in_order_of(names, classes)
        number = {entry.color: classes.index(str(entry.name)) for entry in labelled}
    colors = tuple((entry.color, number.get(entry.color, IGNORED)) for entry in entries)
    return MaskCoding(num_classes=len(classes), lookup=(UNKNOWN,) * 256, colors=colors), classes


def _in_order_of(names: ClassNames, classes: tuple[str, ...]) -> tuple[str, ...]:
    if set(names.names) != set(classes):
        other = sorted(set(names.names) ^ set(classes))
        raise DataError(
            f"{names.source} and --mask-palette name different classes: {', '.join(printable(name) for name in other)} "
            "is in one of them only",
            hint="leave out --classes, or name the same classes in both",
        )
    return names.names


def _from_layout(
    listing: Listing, coding: MaskCoding, rules: MaskRules, names: ClassNames | None
) -> tuple[MaskCoding, tuple[str, ...], tuple[str, ...]]:
    """The layout's own coding; the user may name its classes otherwise, and ignore further values."""
    classes = listing.classes
    if names is not None:
        if len(names.names) != coding.num_classes:
            raise DataError(
                f"{names.source} has {len(names.names)} names; the layout {listing.layout} has {coding.num_classes} "
                "classes",
                hint="leave out --classes, or give one name for each class of the layout",
            )
        classes = names.names
    classes = classes or _numbered(coding.num_classes)
    lookup = list(coding.lookup)
    notes: list[str] = []
    for value in rules.ignore_labels:
        label, lookup[value] = lookup[value], IGNORED
        if label not in (IGNORED, UNKNOWN):
            notes.append(_hole(value, classes[label]))
    return replace(coding, lookup=tuple(lookup)), classes, tuple(notes)


def _hole(value: int, name: str) -> str:
    return (
        f"the ignore label {value} lies among the classes: {printable(name)!r} keeps its place without "
        "a pixel, so that every other class keeps its number"
    )


def _from_values(
    rules: MaskRules, names: ClassNames | None, top: int
) -> tuple[MaskCoding, tuple[str, ...], tuple[str, ...]]:
    ignored = rules.ignored
    if rules.values is not None:
        meanings = dict.fromkeys(ignored, IGNORED) | {value: label for label, value in enumerate(rules.values)}
        return index_coding(meanings, len(rules.values)), _of_values(names, rules.values), ()
    if rules.reduce_zero_label:
        classes, notes = _reduced(names, top, max((top, *rules.given_labels)))
        classes, notes = _without_ignored(rules, classes, notes, 1, named=names is not None)
        meanings = {label + 1: label for label in range(len(classes))} | dict.fromkeys(ignored | {0}, IGNORED)
        return index_coding(meanings, len(classes)), classes, notes
    classes, notes = _numbered(min(max(top + 1, 1), _MOST_CLASSES)) if names is None else names.names, ()
    if names is None:
        notes = (_numbered_note(len(classes), top),)
    classes, notes = _without_ignored(rules, classes, notes, 0, named=names is not None)
    if names is not None and classes[-1].lower() in _NO_LABEL_NAMES:
        last = len(classes) - 1
        notes = (*notes, f"{printable(classes[-1])!r} is a class; if it means no label: --ignore-label {last}")
    meanings = {value: value for value in range(len(classes))} | dict.fromkeys(ignored, IGNORED)
    return index_coding(meanings, len(classes)), classes, notes


def _without_ignored(
    rules: MaskRules, classes: tuple[str, ...], notes: tuple[str, ...], first: int, *, named: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes without those of the ignore labels whose names are the last; anywhere else one keeps its place, and
    a note says so. Class 0 has the value ``first``."""
    labels = [label for label in rules.ignore_labels if first <= label < first + len(classes)]
    while named and labels and labels[-1] == first + len(classes) - 1:
        label, name = labels.pop(), printable(classes[-1])
        if len(classes) == 1:
            raise DataError(
                f"{name!r} is the name of the ignore label {label}, and there is no other class",
                hint="name all classes, one a line, or give another --ignore-label",
            )
        classes, notes = classes[:-1], (*notes, f"{name!r}, the name of the ignore label {label}, is no class")
    holes = [_hole(label, classes[label - first]) for label in labels]
    if holes and first == 0:  # beside --reduce-zero-label two values have no label, which no flag says otherwise
        others = ",".join(str(value) for value in range(len(classes)) if value not in labels)
        without = (
            "--reduce-zero-label"
            if labels == [0] and not named
            else f"--mask-values {others} {rules.flag_ignoring(())}"
        )
        holes[-1] += f"; {without} numbers the classes without {'it' if len(labels) == 1 else 'them'}"
    return classes, (*notes, *holes)


def _of_values(names: ClassNames | None, values: tuple[int, ...]) -> tuple[str, ...]:
    """Names by position; or by value, where the names go on to the highest one."""
    if names is not None and len(names.names) != len(values) and len(names.names) > max(values):
        return tuple(names.names[value] for value in values)
    return _sized(names, len(values), "--mask-values")


def _reduced(names: ClassNames | None, top: int, highest: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the values from 1; ``highest`` counts the ignore label, which may have a name, too."""
    if names is None:
        count = min(max(top, 1), _MOST_CLASSES)
        return _numbered(count), (_numbered_note(count, top),)
    classes = names.names
    notes: tuple[str, ...] = ()
    if classes[0].strip("_").lower() in _ZERO_NAMES:
        classes, notes = classes[1:], (f"{printable(classes[0])!r}, the name of value 0, is no class",)
    elif len(classes) == highest + 1:
        listed = ",".join(str(value) for value in range(1, len(classes) + 1))
        raise DataError(
            f"{names.source} has {len(classes)} names and the masks have values up to {highest}: the names seem to "
            f"begin with value 0 ({printable(classes[0])!r}), which --reduce-zero-label makes no class; they must "
            "begin with value 1",
            hint=f"delete the first name; or, if it is that of value 1, --mask-values {listed} --ignore-label 0",
        )
    return classes, (*notes, f"value 1 is {printable(classes[0])!r}, value {len(classes)} {printable(classes[-1])!r}")


def _sized(names: ClassNames | None, count: int, flag: str) -> tuple[str, ...]:
    if names is None:
        return _numbered(count)
    if len(names.names) != count:
        raise DataError(
            f"{names.source} has {len(names.names)} class names; {flag} has {count} classes",
            hint=f"give {count} names by --classes, one a line, in the order of {flag}",
        )
    return names.names


def _numbered_note(count: int, top: int) -> str:
    said = f"no class names are given: {count} class{'' if count == 1 else 'es'}"
    return f"{said}, as the masks have values up to {top}" if top >= 0 else said


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def _colors(
    listing: Listing, rules: MaskRules, coding: MaskCoding, masks: Sequence[str], facts: Sequence[MaskFacts]
) -> tuple[Color, ...]:
    """Of the flag, of the layout, or of the first mask with a palette of different colours; else the default's."""
    if coding.colors is not None:
        first = {label: color for color, label in reversed(coding.colors)}
        return tuple(first[label] for label in range(coding.num_classes))
    if listing.palette is not None and not rules.recoded and len(listing.palette) == coding.num_classes:
        return listing.palette
    with_palette = (
        mask
        for mask, fact in zip(masks, facts, strict=True)
        if not fact.in_color and bool(np.any(fact.colors != NO_COLOR))
    )
    found = next(with_palette, None)
    return (None if found is None else _own_colors(listing.root / found, coding)) or default_palette(coding.num_classes)


def _own_colors(path: Path, coding: MaskCoding) -> tuple[Color, ...] | None:
    """The colours that the mask's palette has for the classes, if they can be told apart."""
    try:
        palette = read_values(path).palette
    except ImageReadError:  # gone since it was checked; its image will say so
        return None
    values = [coding.lookup.index(label) if label in coding.lookup else 256 for label in range(coding.num_classes)]
    if palette is None or max(values) >= len(palette):
        return None
    colors = tuple((int(red), int(green), int(blue)) for red, green, blue in palette[values])
    grey = len(colors) > 2 and all(red == green == blue for red, green, blue in colors)
    return None if grey or len(set(colors)) < len(colors) else colors
