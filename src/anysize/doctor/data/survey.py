"""What is known of a data set when its checks begin: tables, and what a look at each file has shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.census import MaskCensus
from anysize.data.masks.coding import MaskCoding
from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.rules import MaskRules
from anysize.data.problems import FileProblem
from anysize.data.table import ImageTable
from anysize.doctor.data.look import ImageLook, MaskLook
from anysize.doctor.finding import Finding

__all__ = ["Copies", "ModelNeeds", "Pair", "Part", "Seen", "Survey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One image that was looked at."""

    path: str
    part: str
    """The split that it is in: train or val."""
    row: int
    """Its row in the table of that part."""
    look: ImageLook


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The mask of an image that was looked at."""

    path: str
    image: str
    part: str
    """The split that it is in: train or val."""
    row: int
    """Its row in the table of that part."""
    image_size: tuple[int, int]
    """Height and width of the image as it is read."""
    look: MaskLook
    counts: NDArray[np.int64] | None
    """(K + 1,) pixels of each class, and last those ignored; None where not all of its values have a meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One split of the data."""

    name: str
    table: ImageTable
    census: MaskCensus | None = None
    """Pixels of each class in each of its masks, in the order of the table; None where there are no masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Images of one content."""

    paths: tuple[str, ...]
    parts: tuple[str, ...]
    """The split of each."""
    same_file: bool
    """Byte for byte, rather than in their decoded pixels only."""
    same_labels: bool | None
    """Whether all have one label, or one mask; None where nothing is labelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNeeds:
    """What a network asks of its images."""

    name: str
    smallest_side: int | None
    field: tuple[int, int] | None
    """Height and width of the receptive field in pixels; None where it is the whole image, or unknown."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A data set as far as it has been looked at.

    Args:
        root: the folder that all paths are relative to.
        layout: the name of its layout.
        task: classify, segment, or nothing (no labels at all).
        file: the CSV file or shard, where one was given rather than a folder.
        classes: names of the K classes.
        coding: what the values of masks mean; None where there are none.
        rules: what was said about masks.
        palette: a colour for each class.
        parts: train, and val where there is one.
        has_own_split: the split is that of the data; otherwise it was drawn.
        seen: images decoded, in the order of the parts.
        pairs: masks decoded.
        unreadable: images that cannot be read, or not to their end, and masks likewise.
        mask_problems: what the reader of masks says of them, refused or not.
        unused: files that the layout does not take.
        notes: what the reader of the layout said.
        num_images: in all parts.
        copies: groups of images of one content.
        pairing: what laying masks on their images has shown (`anysize.doctor.pairing`).
        num_paired: pairs for which that was tried.
        model: the network that was named, if any.
    """

    root: Path
    layout: str
    task: Literal["classify", "segment", "none"]
    classes: tuple[str, ...]
    file: Path | None = None
    coding: MaskCoding | None = None
    rules: MaskRules = field(default_factory=MaskRules)
    palette: tuple[tuple[int, int, int], ...] = ()
    parts: tuple[Part, ...]
    has_own_split: bool
    seen: Sequence[Seen] = ()
    pairs: Sequence[Pair] = ()
    unreadable: tuple[FileProblem, ...] = ()
    mask_problems: tuple[MaskProblem, ...] = ()
    unused: tuple[FileProblem, ...] = ()
    notes: tuple[str, ...] = ()
    copies: tuple[Copies, ...] = ()
    pairing: tuple[Finding, ...] = ()
    num_paired: int = 0
    model: ModelNeeds | None = None
    num_images: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_images", sum(len(part.table) for part in self.parts))

    def part(self, name: str) -> Part | None:
        """The split of that name, if there is one."""
        return next((part for part in self.parts if part.name == name), None)

    def class_counts(self, part: str) -> NDArray[np.int64]:
        """(K + 1,) pixels of each class in a part, and of those ignored; or images of each class, and 0."""
        total = np.zeros(len(self.classes) + 1, np.int64)
        found = self.part(part)
        if found is not None and found.census is not None:
            total[:-1], total[-1] = found.census.class_pixels, found.census.num_ignored
        elif found is not None and found.table.labels is not None:
            total[:-1] = np.bincount(found.table.labels, minlength=len(self.classes))
        return total

    def images_with(self, part: str) -> NDArray[np.int64]:
        """(K,) masks of a part that hold each class, or images of each class."""
        found = self.part(part)
        if found is not None and found.census is not None:
            return found.census.class_images
        return self.class_counts(part)[:-1]

    @property
    def sampled(self) -> bool:
        """Whether only some of the images were looked at."""
        return len(self.seen) + len(self.unreadable) < self.num_images
