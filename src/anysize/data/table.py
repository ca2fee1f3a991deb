"""Which images there are, with all that is known of them without decoding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anysize.data.images import ByteSource
from anysize.data.shards.members import ShardMembers, ShardPaths
from anysize.errors import UsageError

__all__ = ["ImageTable"]


@dataclass(frozen=True, eq=False)
class ImageTable:
    """N images, column by column.

    Args:
        root: folder that ``paths`` are relative to.
        paths: N paths, posix style; of images in shards their names, which may be read when asked for.
        labels: (N,) int64 class of each image, or None where nothing is labelled.
        sizes: (N, 2) int64 native height and width, EXIF orientation applied.
        channels: (N,) int8: 1 where the file's content is grey, else 3.
        members: the N images in shards; None where each is a file.
        masks: N label masks, paths relative to ``root``, posix style; None where pixels are not labelled.

    Raises:
        UsageError: columns of different lengths.
    """

    root: Path
    paths: tuple[str, ...] | ShardPaths
    labels: NDArray[np.int64] | None
    sizes: NDArray[np.int64]
    channels: NDArray[np.int8]
    members: ShardMembers | None = None
    masks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.paths)
        shapes = [self.sizes.shape, self.channels.shape]
        expected: list[tuple[int, ...]] = [(n, 2), (n,)]
        if self.labels is not None:
            shapes.append(self.labels.shape)
            expected.append((n,))
        if self.members is not None and len(self.members) != n:
            raise UsageError(f"a table of {n} paths got {len(self.members)} images in shards", hint="give one for each")
        if self.masks is not None and len(self.masks) != n:
            raise UsageError(f"a table of {n} paths got {len(self.masks)} masks", hint="give one for each image")
        if shapes != expected:
            raise UsageError(
                f"a table of {n} paths got sizes, channels and labels of shapes {shapes}; not {expected}",
                hint="give each column one entry for each path",
            )

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Path | ByteSource:
        """Image ``index``, as `images.read_image` takes it: its file, or its place in a shard."""
        return self.root / self.paths[index] if self.members is None else self.members[index]

    def channels_for(self, asked: Literal["auto", "1", "3"]) -> Literal[1, 3]:
        """How many channels to read the images with: as asked or, with "auto", 1 where every one of them is grey."""
        if asked == "auto":
            return 1 if bool(np.all(self.channels == 1)) else 3
        return 1 if asked == "1" else 3

    def select(self, which: ArrayLike) -> "ImageTable":
        """The rows for which a mask (N,) is True, or the rows with these indices, in their order.

        Raises:
            UsageError: a mask of another length, or an index out of range.
        """
        rows = np.asarray(which)
        if rows.dtype == np.bool_:
            if rows.shape != (len(self),):
                raise UsageError(f"a mask of shape {rows.shape} for a table of {len(self)} images")
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64).reshape(-1)  # an empty list is an array of floats
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise UsageError(f"indices {rows.min()}..{rows.max()} for a table of {len(self)} images")
        members = None if self.members is None else self.members.select(rows)
        lazy = members is not None and not isinstance(self.paths, tuple)
        return ImageTable(
            root=self.root,
            paths=members.paths if members is not None and lazy else tuple(self.paths[row] for row in rows.tolist()),
            labels=None if self.labels is None else self.labels[rows],
            sizes=self.sizes[rows],
            channels=self.channels[rows],
            members=members,
            masks=None if self.masks is None else tuple(self.masks[row] for row in rows.tolist()),
        )

    def joined(self, other: "ImageTable") -> "ImageTable":
        """The rows of this table, then those of ``other``; labels and masks only where both have them.

        Raises:
            UsageError: one is of files and one of shards, or both of different shards.
        """
        if (self.members is None) != (other.members is None):
            raise UsageError(
                f"images in files and images in shards cannot be joined ({self.root}, {other.root})",
                hint="put all of them into shards, or none",
            )
        members = None
        if self.members is not None and other.members is not None:
            members = self.members.joined(other.members)
        lazy = members is not None and not (isinstance(self.paths, tuple) and isinstance(other.paths, tuple))
        labelled = self.labels is not None and other.labels is not None
        masks = None if self.masks is None or other.masks is None else (*self.masks, *other.masks)
        return ImageTable(
            root=self.root,
            paths=members.paths if members is not None and lazy else (*self.paths, *other.paths),
            labels=np.concatenate([self.labels, other.labels]) if labelled else None,
            sizes=np.concatenate([self.sizes, other.sizes]),
            channels=np.concatenate([self.channels, other.channels]),
            members=members,
            masks=masks,
        )
