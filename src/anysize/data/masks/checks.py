"""Checks of all masks of a data set at once; none of them guesses what a value means."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.coding import IGNORED, UNKNOWN
from anysize.data.masks.facts import MOST_VALUES, NO_COLOR, MaskFacts
from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.geometry import size_problems
from anysize.data.masks.mask_set import MaskSet, counted
from anysize.data.masks.meaning import classes_of_rows
from anysize.data.masks.palette import color_text, pack_color, unpack_color, voc_palette
from anysize.data.masks.rules import MaskRules
from anysize.data.masks.smooth import smooth_masks

__all__ = ["mask_problems"]

_LOSSY = frozenset({"JPEG", "MPO"})
_MOST_SHOWN = 12
_MOST_COLORS = 64
_MOST_IGNORED = 8  # values that a flag is offered for; more are rather classes
_VOC_VOID = (224, 224, 192)
_VOC_ORDER = {pack_color(color): index for index, color in enumerate(voc_palette(256))}
_SAVE_AGAIN = "save the original masks as PNG"


def mask_problems(given: MaskSet) -> list[MaskProblem]:
    """Everything that is wrong with the masks, errors before warnings."""
    rows = range(len(given.masks))
    lossy = [row for row in rows if given.facts[row].format in _LOSSY]
    color = [row for row in rows if given.facts[row].in_color and given.meaning.coding.colors is None]
    rest = sorted(set(rows) - set(lossy) - set(color))
    problems = [*_lossy(given, lossy), *_in_color(given, sorted(set(color) - set(lossy)), rest)]
    smooth = smooth_masks([given.facts[row] for row in rest], given.meaning.coding)
    blurred = [rest[at] for at in smooth.masks]
    problems += _smooth(given, blurred, certain=smooth.certain, values=smooth.values)
    sharp = sorted(set(rest) - set(blurred)) if smooth.certain else rest
    problems += [*_foreground_255(given, sharp), *_beyond(given, sharp), *_sparse(given, sharp)]
    problems += [*size_problems(given), *_palettes(given, sharp), *_unlabelled(given, sharp)]
    return sorted(problems, key=lambda problem: problem.severity != "error")


def _totals(given: MaskSet, rows: Iterable[int]) -> Counter[int]:
    """Pixels of each value over masks of indices."""
    total: Counter[int] = Counter()
    for row in rows:
        if not given.facts[row].in_color:
            total.update(dict(zip(given.facts[row].values.tolist(), given.facts[row].counts.tolist(), strict=True)))
    return total


def _shown(values: Sequence[object]) -> str:
    more = f", ... ({len(values)} in all)" if len(values) > _MOST_SHOWN else ""
    return ", ".join(str(value) for value in values[:_MOST_SHOWN]) + more


def _lossy(given: MaskSet, rows: list[int]) -> list[MaskProblem]:
    if not rows:
        return []
    most = max(given.facts[row].num_values for row in rows)
    return [
        MaskProblem(
            kind="lossy",
            severity="error",
            found=f"{counted(len(rows), 'is', 'are')} stored as JPEG, which changes values at every border (up to "
            f"{most} different ones in a mask)",
            expected="masks must be stored without loss, as PNG",
            fix=f"{_SAVE_AGAIN}; what JPEG has changed cannot be restored",
            paths=given.paths(rows),
        )
    ]


def _in_color(given: MaskSet, rows: list[int], others: list[int]) -> list[MaskProblem]:
    if not rows:
        return []
    total: Counter[int] = Counter()
    for row in rows:
        total.update(dict(zip(given.facts[row].values.tolist(), given.facts[row].counts.tolist(), strict=True)))
    too_many = any(given.facts[row].num_values > MOST_VALUES for row in rows) or len(total) > MOST_VALUES
    number = f"more than {MOST_VALUES}" if too_many else f"{len(total)}"
    colors = _in_voc_order(total)
    shown = _shown([color_text(unpack_color(color)) for color in colors])
    beside = f" ({len(others)} others are not)" if others else ""
    if too_many or len(total) > _MOST_COLORS:
        fix = (
            "that many colours are no classes: smoothing, a photograph or lossy compression; "
            f"{_SAVE_AGAIN}, without anti-aliasing"
        )
    else:
        fix = _fix_color(given, total, others)
    return [
        MaskProblem(
            kind="color",
            severity="error",
            found=f"{counted(len(rows), 'is', 'are')} in colour{beside}: {number} colours, {shown}",
            expected="which colour is which class must be said",
            fix=fix,
            paths=given.paths(rows),
        )
    ]


def _fix_color(given: MaskSet, total: Counter[int], others: list[int]) -> str:
    """The flag with all colours, those that masks of indices stand for, too: it holds for every mask."""
    fixes = []
    if others:
        fixes.append("save the masks in colour as indices, with the values of the others")
    elif len(total) == 1:
        fixes.append("one colour is one class, and two are required: take the masks in which the classes differ")
    void = {pack_color(_VOC_VOID)}
    everything = Counter(total)
    for row in others:
        fact, classes = given.facts[row], classes_of_rows(given.facts[row], given.meaning.coding)
        everything.update(dict(zip(_keys(fact).tolist(), fact.counts.tolist(), strict=True)))
        void.update(_keys(fact)[(classes == IGNORED) & ~np.isin(_keys(fact), list(total))].tolist())
    deep = any(bool((given.facts[row].values > 255).any()) for row in others)
    if not deep and len(everything) <= _MOST_COLORS and len(set(everything) - void) >= 2:
        names = given.meaning.names
        # Colours in the order of their pixels say nothing about names: each would get another's in silence.
        behind = "=?" if names is not None and not _has_voc_order(everything) else ""
        entries = [
            color_text(unpack_color(color)) + ("=ignore" if color in void else behind)
            for color in _in_voc_order(everything)
        ]
        flag = f"--mask-palette '{','.join(entries)}'"
        ordered = f"{flag} in the order of the classes, '=ignore' behind what is no label"
        if names is None:
            fixes.append(f"{ordered}, or '=name' behind each")
        elif behind:
            fixes.append(f"{flag} with a name of {names.source} in place of each ?, or 'ignore' for what is no label")
        else:
            fixes.append(ordered)
    return "; or ".join(fixes)


def _has_voc_order(total: Counter[int]) -> bool:
    """Whether the colours are those of Pascal VOC's palette, so that their order is that of the classes."""
    return all(color in _VOC_ORDER or color == pack_color(_VOC_VOID) for color in total)


def _in_voc_order(total: Counter[int]) -> list[int]:
    """Colours of Pascal VOC's palette by their index there; any others by their pixels, most first."""
    if _has_voc_order(total):
        return sorted(total, key=lambda color: _VOC_ORDER.get(color, 256))
    return [color for color, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]


def _smooth(given: MaskSet, rows: list[int], *, certain: bool, values: tuple[int, ...]) -> list[MaskProblem]:
    if not rows:
        return []
    found = f"{counted(len(rows), 'has', 'have')} values that lie only on borders, between their neighbours: "
    return [
        MaskProblem(
            kind="interpolated",
            severity="error" if certain else "warning",
            found=found + _shown(values),
            expected="a mask that is resized or turned smoothly has classes at its borders that are not there"
            if certain
            else "this is right for a class that is an outline, and else shows that masks were resized smoothly",
            fix="resize masks by nearest neighbour from their originals (Pillow: Image.Resampling.NEAREST; OpenCV: "
            "cv2.INTER_NEAREST), or keep their own size, as anysize takes any",
            paths=given.paths(rows),
        )
    ]


def _foreground_255(given: MaskSet, rows: list[int]) -> list[MaskProblem]:
    if given.meaning.coding.colors is not None or given.rules.values is not None:
        return []
    total = _totals(given, rows)
    labelled = sorted(value for value in total if given.meaning.coding.class_of(value) != IGNORED)
    if len(labelled) != 1 or IGNORED not in total:
        return []
    value = labelled[0]
    if value == IGNORED or given.meaning.by_layout:
        return []
    share = total[IGNORED] / (total[IGNORED] + total[value])
    return [
        MaskProblem(
            kind="foreground_255",
            severity="error",
            found=f"the masks hold {value} and 255 only ({100 * share:.0f} % are 255, which means no label)",
            expected="at least two classes are required",
            fix=f"--mask-values {value},255 if 255 is a class of its own",
            paths=given.paths([row for row in rows if IGNORED in given.facts[row].values]),
        )
    ]


def _beyond(given: MaskSet, rows: list[int]) -> list[MaskProblem]:
    coding = given.meaning.coding
    pixels: Counter[int] = Counter()
    where: list[int] = []
    details: list[str] = []
    for row in rows:
        fact = given.facts[row]
        unknown = classes_of_rows(fact, coding) == UNKNOWN
        if unknown.any():
            keys = _keys(fact)[unknown] if coding.colors is not None else fact.values[unknown]
            pixels.update(dict(zip(keys.tolist(), fact.counts[unknown].tolist(), strict=True)))
            where.append(row)
            details.append(_shown([_named(given, key) for key in keys.tolist()]))
    if not where:
        return []
    values = [_named(given, value) for value in sorted(pixels)]
    kind = "unknown_color" if coding.colors is not None else "deep" if max(pixels) > 255 else "beyond"
    return [
        MaskProblem(
            kind=kind,
            severity="error",
            found=f"{counted(len(where), 'has', 'have')} values that name no class: {_shown(values)} "
            f"({sum(pixels.values()):,} pixels)",
            expected=_expected(given),
            fix=_fix_beyond(given, rows, sorted(pixels)),
            paths=given.paths(where),
            details=tuple(details),
        )
    ]


def _keys(fact: MaskFacts) -> NDArray[np.int64]:
    """The colours of the rows; of grey masks the greys."""
    return np.where(fact.colors == NO_COLOR, fact.values * 0x010101, fact.colors)


def _named(given: MaskSet, value: int) -> str:
    return str(value) if given.meaning.coding.colors is None else color_text(unpack_color(value))


def _expected(given: MaskSet) -> str:
    coding, rules = given.meaning.coding, given.rules
    if coding.colors is not None:
        return f"--mask-palette has {len(coding.colors)} colours, and no other may occur"
    if rules.values is not None:
        return f"--mask-values is {','.join(map(str, rules.values))}, and no other value may occur"
    known = [value for value, meaning in enumerate(coding.lookup) if meaning not in (UNKNOWN, IGNORED)]
    ignored = [value for value, meaning in enumerate(coding.lookup) if meaning == IGNORED]
    source = (
        f"the {len(given.meaning.names.names)} names of {given.meaning.names.source} are" if given.meaning.names else ""
    )
    classes = f"{source or 'the classes are'} for values {min(known)} to {max(known)}"
    return f"{classes}; {_shown(ignored)} means no label" if ignored else classes


def _fix_beyond(given: MaskSet, rows: list[int], unknown: list[int]) -> str:
    coding, rules, names = given.meaning.coding, given.rules, given.meaning.names
    if coding.colors is not None:
        colors = ",".join(f"{color_text(unpack_color(color))}=ignore" for color in unknown[:_MOST_COLORS])
        return f"add the colours to --mask-palette; without a label they are '{colors}'"
    if max(unknown) > 255:
        return "values above 255 are no classes (identifiers of objects?); write each pixel's class index, 0 to 254"
    if rules.values is not None:
        longer = ",".join(map(str, (*rules.values, *unknown)))
        ignore = f", or {_ignoring(rules, unknown)}" if len(unknown) <= _MOST_IGNORED else ""
        return f"--mask-values {longer}{ignore}"
    if given.meaning.by_layout:
        ignore = f"{_ignoring(rules, unknown)}; else " if len(unknown) <= _MOST_IGNORED else ""
        return f"{ignore}take the masks as they were published: no other value means anything there"
    found = sorted(value for value in _totals(given, rows) if coding.class_of(value) != IGNORED)
    if IGNORED in unknown:
        return _fix_255(given, found)
    with_255 = [*found, 255] if rules.ignore_labels and 255 in _totals(given, rows) else found
    fixes = []
    for values in [found] if with_255 == found else [found, with_255]:
        if names is not None and len(values) == len(names.names):
            fixes.append(f"--mask-values {','.join(map(str, values))} if the names are for these values in this order")
    if len(unknown) <= _MOST_IGNORED:
        fixes.append(_ignoring(rules, unknown))
    if names is not None and 0 in found and max(found) == len(names.names):
        fixes.append("--reduce-zero-label if 0 means no label and the names begin with value 1")
    if names is not None and (not fixes or max(found) < 2 * len(names.names)):
        fixes.append(f"a file of {max(found) + 1} names by --classes, if the values are class indices")
    return "; ".join(fixes) or f"--mask-values {','.join(map(str, found))} names the value of each class"


def _ignoring(rules: MaskRules, values: list[int]) -> str:
    """The flag that leaves these values without a label too, and when it is right."""
    meant = "that value means" if len(values) == 1 else "those values mean"
    return f"{rules.flag_ignoring(values)} if {meant} no label"


def _fix_255(given: MaskSet, found: list[int]) -> str:
    """Nothing is ignored, and the index of a class ends at 254."""
    if len(found) < 2:
        return "one value is one class, and two are required: take the masks in which the classes differ"
    names = given.meaning.names
    named = f", with {len(found)} names by --classes" if names is not None and len(names.names) != len(found) else ""
    return f"--mask-values {','.join(map(str, found))} if 255 is a class of its own{named}; --ignore-label 255 if not"


def _sparse(given: MaskSet, rows: list[int]) -> list[MaskProblem]:
    """Few values over a wide range, without names: 0 and 128 would be 129 classes, of which 127 have no pixel."""
    if given.meaning.names is not None or given.meaning.by_layout or given.rules.recoded:
        return []
    total = _totals(given, rows)
    found = sorted(value for value in total if value <= 255 and given.meaning.coding.class_of(value) not in (IGNORED,))
    if not found or len(found) < 2 or given.meaning.coding.num_classes <= 2 * len(found):
        return []
    listed = ",".join(map(str, found))
    fix = f"--mask-values {listed} takes these values as classes"
    if IGNORED in total and given.rules.ignore_labels:
        fix += f" (--mask-values {listed},255 if 255 is one, too)"
    return [
        MaskProblem(
            kind="sparse",
            severity="error",
            found=f"the masks hold {len(found)} values from {found[0]} to {found[-1]}: {_shown(found)}",
            expected="without class names, values must be class indices 0, 1, 2, ... with few gaps",
            fix=f"{fix}; or --classes FILE with {found[-1] + 1} names, if they are class indices",
            paths=given.paths(rows),
        )
    ]


def _palettes(given: MaskSet, rows: list[int]) -> list[MaskProblem]:
    """One colour for different values: the palettes were made file by file, and the values with them."""
    if given.meaning.coding.colors is not None:
        return []
    values: dict[int, int] = {}
    odd = []
    for row in rows:
        fact = given.facts[row]
        pairs = [(v, c) for v, c in zip(fact.values.tolist(), fact.colors.tolist(), strict=True) if c != NO_COLOR]
        if len({color for _, color in pairs}) < len(pairs):
            continue  # a palette that tells not even its own values apart says nothing about others
        if any(values.setdefault(color, value) != value for value, color in pairs):
            odd.append(row)
    if not odd:
        return []
    return [
        MaskProblem(
            kind="palettes",
            severity="warning",
            found=f"the palettes disagree: {counted(len(odd), 'has', 'have')} another value for a colour",
            expected="a class must have the same value in every mask; palettes made file by file number colours anew",
            fix="look at overlays; if the colours are right and the values are not, --mask-palette reads the colours",
            paths=given.paths(odd),
        )
    ]


def _unlabelled(given: MaskSet, rows: list[int]) -> list[MaskProblem]:
    coding = given.meaning.coding
    empty = [row for row in rows if bool((classes_of_rows(given.facts[row], coding) == IGNORED).all())]
    if not empty:
        return []
    return [
        MaskProblem(
            kind="all_ignored",
            severity="warning",
            found=f"{counted(len(empty), 'has', 'have')} no labelled pixel at all: every one is ignored",
            expected="nothing can be learned from such an image",
            fix="label them, or take them out of the data",
            paths=given.paths(empty),
        )
    ]
