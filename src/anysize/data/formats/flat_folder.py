"""ROOT/IMAGE: images without labels, directly in a folder."""

from pathlib import Path

from anysize.data.folders import walk
from anysize.data.formats import Listing

__all__ = ["LAYOUT"]


class _FlatFolder:
    name = "flat_folder"
    order = 40
    sketch = "ROOT/1.jpg, ROOT/2.jpg (no labels: to plan and to predict)"
    has_masks = False

    def matches(self, root: Path) -> bool:
        return root.is_dir() and bool(walk(root, recursive=False).images)

    def read(self, root: Path) -> Listing:
        found = walk(root, recursive=False)
        return Listing(
            layout=self.name,
            root=root,
            paths=tuple(found.images),
            labels=None,
            classes=(),
            splits=(None,) * len(found.images),
            ignored=tuple(found.ignored),
        )


LAYOUT = _FlatFolder()
