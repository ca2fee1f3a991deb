"""A .csv file with the columns path and label, and perhaps split; paths are relative to its folder."""

from pathlib import Path

from anysize.data.formats import Listing, Split
from anysize.data.formats.csv_rows import (
    SPLITS,
    CsvRow,
    layout_with_masks,
    only_table,
    read_rows,
    refuse_missing,
    refuse_two_kinds,
    tables_in,
)
from anysize.data.problems import printable
from anysize.errors import LayoutError

__all__ = ["LAYOUT"]


class _CsvTable:
    name = "csv_table"
    order = 10
    sketch = "FILE.csv, or ROOT with one such file: columns path,label[,split] (train or val)"
    has_masks = False

    def matches(self, root: Path) -> bool:
        if root.is_dir():
            return bool(tables_in(root, "label"))
        return root.suffix.lower() == ".csv"

    def read(self, root: Path) -> Listing:
        file = only_table(root, "label") if root.is_dir() else root
        if root.is_dir():
            _refuse_masks(root, file)
        rows = read_rows(file, "label")
        refuse_missing(file, [row.path for row in rows], len(rows))
        classes = tuple(sorted({row.value for row in rows}))
        number = {name: label for label, name in enumerate(classes)}
        splits = tuple(None if row.split is None else SPLITS[row.split] for row in rows)
        notes = _notes_on_split(file, rows, splits) if splits[0] is not None else ()
        return Listing(
            layout=self.name,
            root=file.parent,
            paths=tuple(row.path for row in rows),
            labels=tuple(number[row.value] for row in rows),
            classes=classes,
            splits=splits,
            notes=notes,
        )


def _refuse_masks(root: Path, file: Path) -> None:
    """Raise an error if the folder has label masks, too: a stray table must not turn one task into another.

    Raises:
        LayoutError: it has.
    """
    layout = layout_with_masks(root)
    if layout is not None:
        shown = printable(file.name)
        refuse_two_kinds(
            f"{root} holds images with label masks ({layout}) and a table of labels ({shown})",
            f"to learn the masks, move {shown} out of the folder; to learn the labels of whole images, give the table: "
            f"{file}",
        )


def _notes_on_split(file: Path, rows: list[CsvRow], splits: tuple[Split | None, ...]) -> tuple[str, ...]:
    train = {row.value for row, split in zip(rows, splits, strict=True) if split == "train"}
    val = {row.value for row, split in zip(rows, splits, strict=True) if split == "val"}
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
