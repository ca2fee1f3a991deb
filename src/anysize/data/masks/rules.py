"""The flags about label masks, read and checked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from anysize.data.masks.palette import Color
from anysize.data.problems import printable
from anysize.errors import UsageError
from anysize.options import MaskOptions

__all__ = ["IGNORE_NAME", "NAME_FILES", "ClassNames", "MaskRules", "PaletteEntry", "mask_rules", "read_class_names"]

IGNORE_NAME = "ignore"
"""In a palette: pixels of this colour have no label."""
NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt")
"""Files of class names that are looked for beside the images, in this order."""

_MOST_CLASSES = 255
_INLINE = re.compile(r"#([0-9a-fA-F]{6})(?:=(.+))?")


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The names of a file, and which file it was."""

    names: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class PaletteEntry:
    """One colour of ``--mask-palette``; without a name it is a class that is named elsewhere."""

    color: Color
    name: str | None


@dataclass(frozen=True, kw_only=True)
class MaskRules:
    """What the user says about masks, in the form that is worked with; as it is, the defaults of `MaskOptions`.

    Args:
        names: of ``--classes``; None to look for a file beside the images.
        ignore_labels: values without a label, beside 255; none where no value is ignored.
        values: of ``--mask-values``, the value of each class.
        palette: of ``--mask-palette``.
        reduce_zero_label: value 0 is no label, and classes begin at 1.
    """

    names: ClassNames | None = None
    ignore_labels: tuple[int, ...] = (255,)
    values: tuple[int, ...] | None = None
    palette: tuple[PaletteEntry, ...] | None = None
    reduce_zero_label: bool = False

    @property
    def ignored(self) -> set[int]:
        """The values without a label: 255 beside those that were given, unless there is none."""
        return {255, *self.ignore_labels} if self.ignore_labels else set()

    @property
    def given_labels(self) -> tuple[int, ...]:
        """The values without a label that the user has named, which 255 need not be."""
        return tuple(value for value in self.ignore_labels if value != 255)

    def flag_ignoring(self, values: Iterable[int]) -> str:
        """The --ignore-label that leaves ``values`` without a label, beside those that were named."""
        return f"--ignore-label {','.join(map(str, sorted({*self.given_labels, *values})))}"

    @property
    def recoded(self) -> bool:
        """Whether they say what the values mean, whatever a layout would say."""
        return self.values is not None or self.palette is not None or self.reduce_zero_label


def mask_rules(options: MaskOptions) -> MaskRules:
    """Read what the flags name: a list of values, a palette, a file of names.

    Raises:
        UsageError: a file that cannot be read, a value or colour that is none, or one that is given twice, or
            as a class and without a label.
    """
    values = None if options.mask_values is None else _values(options.mask_values)
    twice = [value for value in options.ignore_labels if value != 255 and value in (values or ())]
    if values is not None and twice:
        others = ",".join(str(value) for value in values if value not in twice)
        raise UsageError(
            f"--ignore-label {twice[0]} is in --mask-values, too: a value is a class or has no label",
            hint=f"--mask-values {others} --ignore-label {options.ignore_label}, or leave out --ignore-label",
        )
    return MaskRules(
        names=None if options.classes is None else read_class_names(options.classes),
        ignore_labels=options.ignore_labels,
        values=values,
        palette=None if options.mask_palette is None else _palette(options.mask_palette),
        reduce_zero_label=options.reduce_zero_label,
    )


def read_class_names(path: Path) -> ClassNames:
    """The class names of a text file, one a line; empty lines at the end are passed over.

    Raises:
        UsageError: it cannot be read, is empty, or names a class twice or not at all.
    """
    lines = [line.strip() for line in _text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise UsageError(f"{path} is empty; it must hold the class names, one a line", hint="begin with: background")
    for number, name in enumerate(lines, 1):
        if not name:
            raise UsageError(
                f"{path}, line {number} is empty, and lines are counted to number the classes",
                hint=f"delete the line, or name the class of value {number - 1} in it",
            )
        if name in lines[: number - 1]:
            raise UsageError(
                f"{path} names {printable(name)!r} in line {lines.index(name) + 1} and in line {number}",
                hint="give each class a name of its own",
            )
    if len(lines) > _MOST_CLASSES:
        raise UsageError(f"{path} has {len(lines)} names; a mask of 8 bits tells {_MOST_CLASSES} classes apart at most")
    return ClassNames(tuple(lines), path.name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="check the name of the file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _values(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    bad = [part for part in parts if not part.isascii() or not part.isdigit() or int(part) > 255]
    if bad:
        raise UsageError(
            f"--mask-values is {text!r}; {bad[0]!r} is no value from 0 to 255",
            hint="separate the values by commas, in the order of the classes: --mask-values 0,255",
        )
    values = tuple(int(part) for part in parts)
    _refuse_repeats("mask-values", [str(value) for value in values])
    if len(values) < 2:
        raise UsageError(f"--mask-values is {text!r}; two classes are needed at least", hint="--mask-values 0,255")
    if len(values) > _MOST_CLASSES:
        raise UsageError(f"--mask-values has {len(values)} values; {_MOST_CLASSES} classes are possible at most")
    return values


def _palette(text: str) -> tuple[PaletteEntry, ...]:
    entries = _inline_palette(text) if text.startswith("#") else _palette_file(Path(text))
    _refuse_repeats("mask-palette", ["#{:02x}{:02x}{:02x}".format(*entry.color) for entry in entries])
    labelled = [entry for entry in entries if entry.name != IGNORE_NAME]
    classes = len({entry.name or entry.color for entry in labelled})
    if not 2 <= classes <= _MOST_CLASSES:
        raise UsageError(
            f"--mask-palette has {classes} classes; at least 2 and at most {_MOST_CLASSES} are possible",
            hint="give each class a colour: --mask-palette '#000000=background,#ff0000=car'",
        )
    if len({entry.name is None for entry in labelled}) > 1:
        raise UsageError(
            "--mask-palette names some of its colours and not the others",
            hint="name all of them (#ff0000=car), or none; '=ignore' may stand alone",
        )
    return entries


def _inline_palette(text: str) -> tuple[PaletteEntry, ...]:
    entries = []
    for part in (part.strip() for part in text.split(",")):
        match = _INLINE.fullmatch(part)
        if match is None:
            raise UsageError(
                f"--mask-palette has {part!r}, which is no colour",
                hint="write colours as #rrggbb, separated by commas, in quotes: "
                "'#000000=background,#ff0000=car,#ffffff=ignore'",
            )
        red, green, blue = bytes.fromhex(match[1])
        entries.append(PaletteEntry((red, green, blue), None if match[2] is None else _entry_name(match[2])))
    return tuple(entries)


def _palette_file(path: Path) -> tuple[PaletteEntry, ...]:
    entries = []
    lines = list(enumerate(_text(path).splitlines(), 1))
    if lines and _is_header(lines[0][1]):
        lines = lines[1:]
    for number, line in lines:
        # Also 'name:red,green,blue::', and 'red green blue name', as CVAT and CamVid have them.
        parts = _columns(line)
        if not parts or line.startswith("#"):
            continue
        name, channels = " ".join(parts[:-3]), parts[-3:]
        if not _is_color(channels):
            name, channels = " ".join(parts[3:]), parts[:3]
        if not name or not _is_color(channels):
            raise UsageError(
                f"{path}, line {number} is {printable(line)!r}; a name and a colour are required",
                hint="write a line for each class: car 255 0 0",
            )
        red, green, blue = (int(channel) for channel in channels)
        entries.append(PaletteEntry((red, green, blue), _entry_name(name)))
    return tuple(entries)


def _entry_name(text: str) -> str:
    """The name of a class; 'ignore' is the same in capitals."""
    name = text.strip()
    return IGNORE_NAME if name.lower() == IGNORE_NAME else name


def _columns(line: str) -> list[str]:
    return line.replace(",", " ").replace(":", " ").split()


def _is_header(line: str) -> bool:
    """Whether it is a row like 'name,r,g,b': four words at least, and none of them a number."""
    parts = _columns(line)
    return len(parts) > 3 and not any(part.isdigit() for part in parts)


def _is_color(channels: list[str]) -> bool:
    levels = [channel.isascii() and channel.isdigit() and int(channel) <= 255 for channel in channels]
    return len(levels) == 3 and all(levels)


def _refuse_repeats(flag: str, items: list[str]) -> None:
    repeated = [item for number, item in enumerate(items) if item in items[:number]]
    if repeated:
        raise UsageError(f"--{flag} has {repeated[0]} twice", hint="give each value or colour one place")
