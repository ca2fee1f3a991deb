"""A .csv file with the columns path and mask, and perhaps split; paths are relative to its folder."""

from pathlib import Path, PurePosixPath

from anysize.data.formats import Listing
from anysize.data.formats.csv_rows import SPLITS, columns_of, only_table, read_rows, refuse_missing, tables_in

__all__ = ["LAYOUT"]


class _CsvMasks:
    name = "csv_masks"
    order = 9
    sketch = "FILE.csv, or ROOT with one such file: columns path,mask[,split]"

    def matches(self, root: Path) -> bool:
        if root.is_dir():
            # A table that has labels, too, was one of labels before there were masks.
            return bool(tables_in(root, "mask")) and not tables_in(root, "label")
        columns = columns_of(root) if root.suffix.lower() == ".csv" else []
        return "mask" in columns and "label" not in columns

    def read(self, root: Path) -> Listing:
        file = only_table(root, "mask") if root.is_dir() else root
        rows = read_rows(file, "mask")
        masks = tuple(PurePosixPath(row.value).as_posix() for row in rows)
        refuse_missing(file, [*(row.path for row in rows), *dict.fromkeys(masks)], 2 * len(rows))
        return Listing(
            layout=self.name,
            root=file.parent,
            paths=tuple(row.path for row in rows),
            labels=None,
            classes=(),
            splits=tuple(None if row.split is None else SPLITS[row.split] for row in rows),
            masks=masks,
        )


LAYOUT = _CsvMasks()
