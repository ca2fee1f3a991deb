"""A .csv file with the columns path and label, and perhaps split; paths are relative to its folder."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anysize.data.folders import is_litter
from anysize.data.formats import Listing, Split
from anysize.data.problems import FileProblem, describe, printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT"]

_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val"}


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    label: str
    split: str | None


class _CsvTable:
    name = "csv_table"
    order = 10
    sketch = "FILE.csv, or ROOT with one such file: columns path,label[,split] (train or val)"

    def matches(self, root: Path) -> bool:
        if root.is_dir():
            return bool(_tables(root))
        return root.suffix.lower() == ".csv"

    def read(self, root: Path) -> Listing:
        file = _only(root, _tables(root)) if root.is_dir() else root
        rows = _rows(file)
        _refuse_bad(file, rows)
        folder = file.parent
        missing = [FileProblem(row.path, "no such file") for row in rows if not (folder / row.path).is_file()]
        if missing:
            raise LayoutError(
                f"{len(missing)} of {len(rows)} files that {file} names are missing:\n{describe(missing)}",
                hint=f"paths are relative to {folder}, with forward slashes; correct or delete these rows",
            )
        classes = tuple(sorted({row.label for row in rows}))
        number = {name: label for label, name in enumerate(classes)}
        splits = tuple(None if row.split is None else _SPLITS[row.split] for row in rows)
        notes = _notes_on_split(file, rows, splits) if splits[0] is not None else ()
        return Listing(
            layout=self.name,
            root=folder,
            paths=tuple(row.path for row in rows),
            labels=tuple(number[row.label] for row in rows),
            classes=classes,
            splits=splits,
            notes=notes,
        )


def _columns(file: Path) -> list[str]:
    """The column names as `_rows` matches them; empty if the file cannot be read as a table."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip().lower() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _tables(root: Path) -> list[Path]:
    files = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and not is_litter(path.name))
    return [file for file in files if {"path", "label"} <= set(_columns(file))]


def _only(root: Path, tables: Sequence[Path]) -> Path:
    if len(tables) > 1:
        names = ", ".join(printable(table.name) for table in tables)
        raise LayoutError(
            f"{root} has several tables with the columns path and label: {names}",
            hint=f"give the one that is meant: {tables[0]}",
        )
    return tables[0]


def _rows(file: Path) -> list[_Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = [name.strip().lower() for name in next(reader, [])]
            _require_columns(file, columns)
            return [_row(file, reader.line_num, columns, values) for values in reader if values]
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}",
            hint=f"save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 {file} > new.csv",
        ) from error
    except csv.Error as error:
        raise LayoutError(
            f"{file} is not a valid table: {error}", hint="close every quote, and double quotes within quotes"
        ) from error


def _require_columns(file: Path, columns: list[str]) -> None:
    if {"path", "label"} <= set(columns) and len(set(columns)) == len(columns):
        return
    found = ", ".join(printable(name) for name in columns) or "none, the file is empty"
    other = next((mark for mark in ";\t|" if any(mark in name for name in columns)), None)
    hint = "make the first line: path,label or path,label,split"
    if other is not None:
        hint = f"separate the columns by commas, not by {other!r}: path,label or path,label,split"
    raise LayoutError(f"{file} needs the columns path and label, each once; its columns are: {found}", hint=hint)


def _row(file: Path, line: int, columns: list[str], values: list[str]) -> _Row:
    if len(values) != len(columns):
        raise LayoutError(
            f"{file}, line {line} has {len(values)} values; the header has {len(columns)} columns",
            hint="put quotes around values that hold a comma",
        )
    cells = {name: value.strip() for name, value in zip(columns, values, strict=True)}
    split = cells.get("split")
    return _Row(
        line,
        PurePosixPath(cells["path"]).as_posix() if cells["path"] else "",
        cells["label"],
        None if split is None else split.lower(),
    )


def _refuse_bad(file: Path, rows: list[_Row]) -> None:
    """Raise one error for all rows that cannot be used."""
    if not rows:
        raise LayoutError(f"{file} has a header but no rows", hint="add a row for each image: cat/1.jpg,cat")
    bad: list[FileProblem] = []
    first: dict[str, int] = {}
    for row in rows:
        if not row.path or not row.label:
            bad.append(FileProblem(f"line {row.line}", f"the {'label' if row.path else 'path'} is empty"))
        elif row.path in first:
            bad.append(FileProblem(f"line {row.line}", f"{printable(row.path)} is in line {first[row.path]} already"))
        if row.split is not None and row.split not in _SPLITS:
            bad.append(FileProblem(f"line {row.line}", f"the split is {printable(row.split)!r}, not train or val"))
        first.setdefault(row.path, row.line)
    if bad:
        raise LayoutError(
            f"{file} has {len(bad)} rows that cannot be used:\n{describe(bad)}",
            hint="give every image one row, with a path, a label, and train or val if there is a split",
        )


def _notes_on_split(file: Path, rows: list[_Row], splits: tuple[Split | None, ...]) -> tuple[str, ...]:
    train = {row.label for row, split in zip(rows, splits, strict=True) if split == "train"}
    val = {row.label for row, split in zip(rows, splits, strict=True) if split == "val"}
    if val - train:
        shown = ", ".join(printable(name) for name in sorted(val - train))
        raise LayoutError(
            f"{file} has labels that are in val but not in train: {shown}",
            hint="move some of their rows to train, or delete them",
        )
    if train - val:
        shown = ", ".join(printable(name) for name in sorted(train - val))
        return (f"val has no images of: {shown}; how well they are learnt cannot be measured",)
    return ()


LAYOUT = _CsvTable()
