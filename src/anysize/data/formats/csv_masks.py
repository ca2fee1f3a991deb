"""A .csv file with the columns path and mask, and perhaps split; paths are relative to its folder."""

from pathlib import Path, PurePosixPath

from anysize.data.formats import Listing
from anysize.data.formats.csv_rows import (
    SPLITS,
    columns_of,
    layout_with_masks,
    only_table,
    read_rows,
    refuse_missing,
    refuse_two_kinds,
    tables_in,
)
from anysize.data.problems import printable

__all__ = ["LAYOUT"]


class _CsvMasks:
    name = "csv_masks"
    order = 9
    sketch = "FILE.csv, or ROOT with one such file: columns path,mask[,split]"
    has_masks = True

    def matches(self, root: Path) -> bool:
        if root.is_dir():
            return bool(tables_in(root, "mask"))
        return root.suffix.lower() == ".csv" and "mask" in columns_of(root)

    def read(self, root: Path) -> Listing:
        _refuse_labels(root)
        file = only_table(root, "mask") if root.is_dir() else root
        rows = read_rows(file, "mask")
        masks = tuple(PurePosixPath(row.value).as_posix() for row in rows)
        refuse_missing(file, [*(row.path for row in rows), *dict.fromkeys(masks)], 2 * len(rows))
        other = layout_with_masks(root) if root.is_dir() else None
        note = f"{printable(file.name)} says which images and masks are used; whatever else the folder holds "
        return Listing(
            layout=self.name,
            root=file.parent,
            paths=tuple(row.path for row in rows),
            labels=None,
            classes=(),
            splits=tuple(None if row.split is None else SPLITS[row.split] for row in rows),
            notes=() if other is None else (f"{note}({other}) is not looked at",),
            masks=masks,
        )


def _refuse_labels(root: Path) -> None:
    """Raise an error if a table, or another one beside it, labels whole images, too.

    Raises:
        LayoutError: it does.
    """
    masks = tables_in(root, "mask") if root.is_dir() else [root]
    both = [file for file in masks if "label" in columns_of(file)]
    if both:
        refuse_two_kinds(
            f"{both[0]} has the columns mask and label",
            "remove or rename the column that is not meant: without label the masks are learnt, without mask the "
            "labels",
        )
    labels = tables_in(root, "label") if root.is_dir() else []
    if labels:
        shown, other = printable(masks[0].name), printable(labels[0].name)
        refuse_two_kinds(
            f"{root} has a table of masks ({shown}) and a table of labels ({other})",
            f"give the one that is meant: {masks[0]} or {labels[0]}",
        )


LAYOUT = _CsvMasks()
