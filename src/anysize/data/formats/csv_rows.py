"""Rows of a .csv file: path, a second column, and perhaps split; what the layouts in tables share."""

import csv
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from anysize.data.folders import is_litter
from anysize.data.formats import Split, all_layouts
from anysize.data.problems import FileProblem, describe, printable
from anysize.errors import LayoutError

__all__ = [
    "SPLITS",
    "CsvRow",
    "columns_of",
    "layout_with_masks",
    "only_table",
    "read_rows",
    "refuse_missing",
    "refuse_two_kinds",
    "tables_in",
]

SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val"}
"""How a table may call its parts."""
_EXAMPLES = {"label": "cat/1.jpg,cat", "mask": "images/1.jpg,masks/1.png"}


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One image: its line in the file, and the cells; ``value`` is that of the second column."""

    line: int
    path: str
    value: str
    split: str | None


def columns_of(file: Path) -> list[str]:
    """The column names as `read_rows` matches them; empty if the file cannot be read as a table."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip().lower() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def tables_in(root: Path, column: str) -> list[Path]:
    """The tables in ``root`` with the columns path and ``column``."""
    files = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and not is_litter(path.name))
    return [file for file in files if {"path", column} <= set(columns_of(file))]


def layout_with_masks(root: Path) -> str | None:
    """The layout, other than in tables, in which ``root`` has images with label masks."""
    layouts = (layout for layout in all_layouts() if layout.has_masks and layout.name != "csv_masks")
    return next((layout.name for layout in layouts if layout.matches(root)), None)


def refuse_two_kinds(found: str, hint: str) -> NoReturn:
    """Raise the error of data that label both pixels and whole images: nobody but the user knows which is meant.

    Raises:
        LayoutError: always.
    """
    raise LayoutError(f"{found}: pixels may be meant, or whole images", hint=hint)


def only_table(root: Path, column: str) -> Path:
    """The only table in ``root`` with the columns path and ``column``.

    Raises:
        LayoutError: there are several.
    """
    tables = tables_in(root, column)
    if len(tables) > 1:
        names = ", ".join(printable(table.name) for table in tables)
        raise LayoutError(
            f"{root} has several tables with the columns path and {column}: {names}",
            hint=f"give the one that is meant: {tables[0]}",
        )
    return tables[0]


def read_rows(file: Path, column: str) -> list[CsvRow]:
    """All rows of a table with the columns path, ``column`` and perhaps split.

    Raises:
        LayoutError: it is no such table, or rows in it cannot be used, all in one error.
    """
    rows = _rows(file, column)
    _refuse_bad(file, rows, column)
    return rows


def refuse_missing(file: Path, paths: Sequence[str], count: int) -> None:
    """Raise one error for all files that a table names and that are not there.

    Raises:
        LayoutError: there are some.
    """
    folder = file.parent
    missing = [FileProblem(path, "no such file") for path in paths if not (folder / path).is_file()]
    if missing:
        raise LayoutError(
            f"{len(missing)} of {count} files that {file} names are missing:\n{describe(missing)}",
            hint=f"paths are relative to {folder}, with forward slashes; correct or delete these rows",
        )


def _rows(file: Path, column: str) -> list[CsvRow]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = [name.strip().lower() for name in next(reader, [])]
            _require_columns(file, columns, column)
            return [_row(file, reader.line_num, columns, values, column) for values in reader if values]
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}",
            hint=f"save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 {file} > new.csv",
        ) from error
    except csv.Error as error:
        raise LayoutError(
            f"{file} is not a valid table: {error}", hint="close every quote, and double quotes within quotes"
        ) from error


def _require_columns(file: Path, columns: list[str], column: str) -> None:
    if {"path", column} <= set(columns) and len(set(columns)) == len(columns):
        return
    found = ", ".join(printable(name) for name in columns) or "none, the file is empty"
    other = next((mark for mark in ";\t|" if any(mark in name for name in columns)), None)
    header = f"path,{column} or path,{column},split"
    hint = f"make the first line: {header}"
    if other is not None:
        hint = f"separate the columns by commas, not by {other!r}: {header}"
    raise LayoutError(f"{file} needs the columns path and {column}, each once; its columns are: {found}", hint=hint)


def _row(file: Path, line: int, columns: list[str], values: list[str], column: str) -> CsvRow:
    if len(values) != len(columns):
        raise LayoutError(
            f"{file}, line {line} has {len(values)} values; the header has {len(columns)} columns",
            hint="put quotes around values that hold a comma",
        )
    cells = {name: value.strip() for name, value in zip(columns, values, strict=True)}
    split = cells.get("split")
    return CsvRow(
        line,
        PurePosixPath(cells["path"]).as_posix() if cells["path"] else "",
        cells[column],
        None if split is None else split.lower(),
    )


def _refuse_bad(file: Path, rows: list[CsvRow], column: str) -> None:
    """Raise one error for all rows that cannot be used."""
    if not rows:
        raise LayoutError(f"{file} has a header but no rows", hint=f"add a row for each image: {_EXAMPLES[column]}")
    bad: list[FileProblem] = []
    first: dict[str, int] = {}
    for row in rows:
        place = posixpath.normpath(row.path)
        if not row.path or not row.value:
            bad.append(FileProblem(f"line {row.line}", f"the {column if row.path else 'path'} is empty"))
        elif place in first:
            bad.append(FileProblem(f"line {row.line}", f"{printable(row.path)} is in line {first[place]} already"))
        if row.split is not None and row.split not in SPLITS:
            bad.append(FileProblem(f"line {row.line}", f"the split is {printable(row.split)!r}, not train or val"))
        first.setdefault(place, row.line)
    if bad:
        raise LayoutError(
            f"{file} has {len(bad)} rows that cannot be used:\n{describe(bad)}",
            hint=f"give every image one row, with a path, a {column}, and train or val if there is a split",
        )
