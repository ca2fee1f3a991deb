"""The ways in which images and labels lie on disk: one file a layout, found by itself."""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anysize.data.folders import is_litter
from anysize.data.masks.coding import MaskCoding
from anysize.data.problems import FileProblem, printable
from anysize.errors import LayoutError

__all__ = ["Layout", "Listing", "Split", "all_layouts", "read_listing"]

Split = Literal["train", "val"]

_MOST_NAMES = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """The images that a layout names; no file was opened but a table of labels.

    Args:
        layout: the layout's name.
        root: folder that ``paths`` are relative to.
        paths: images, posix style, N of them; with ``in_shards`` shards, which hold the images.
        labels: index into ``classes`` for each image, or None where nothing is labelled.
        classes: class names in plain sorted order (by code point, as torchvision's ImageFolder has it).
        splits: the part that each image belongs to; None where it is still to be drawn.
        ignored: files that are not taken, each with the reason; the litter of operating systems is passed
            over.
        notes: what a user should know about the whole.
        in_shards: ``paths`` and ``splits`` are those of shards; `shards.listing.scan_shards` lists the images.
        alone: the one shard was given itself, rather than its folder.
        masks: the label mask of each image, relative to ``root``, posix style; None where pixels are not labelled.
            ``labels`` is None then, and ``classes`` may be empty: the masks' values name them.
        palette: (red, green, blue) of each class, for drawing; None where the data have none.
        coding: what the masks' values mean, where the layout says so; None where flags and values do.
        coding_notes: what a user should know about ``coding``, where it is used.
    """

    layout: str
    root: Path
    paths: Sequence[str]
    labels: Sequence[int] | NDArray[np.int64] | None
    classes: tuple[str, ...]
    splits: tuple[Split | None, ...]
    ignored: tuple[FileProblem, ...] = ()
    notes: tuple[str, ...] = ()
    in_shards: bool = False
    alone: bool = False
    masks: Sequence[str] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    coding: MaskCoding | None = None
    coding_notes: tuple[str, ...] = ()


class Layout(Protocol):
    """One way in which data lie on disk. A module of this folder that has a ``LAYOUT`` object is a layout."""

    @property
    def name(self) -> str:
        """As it is shown to people, with underscores."""

    @property
    def order(self) -> int:
        """Where several layouts match, the one with the lowest order is used."""

    @property
    def sketch(self) -> str:
        """One line that shows the layout, for the error message that lists them all."""

    @property
    def has_masks(self) -> bool:
        """Whether its images come with label masks."""

    def matches(self, root: Path) -> bool:
        """Whether ``root`` is meant to be in this layout; faults within it are for `read` to tell."""

    def read(self, root: Path) -> Listing:
        """List the images.

        Raises:
            LayoutError: the layout contradicts itself, or is incomplete.
        """


@cache
def all_layouts() -> tuple[Layout, ...]:
    """Every layout of this folder, in the order in which they are asked."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    layouts: list[Layout] = [module.LAYOUT for module in modules if hasattr(module, "LAYOUT")]
    return tuple(sorted(layouts, key=lambda layout: (layout.order, layout.name)))


def read_listing(root: Path) -> Listing:
    """List the images at ``root`` (a folder, a .csv or a .tar file) by the first layout that matches.

    Raises:
        LayoutError: nothing is there, no layout matches, or the one that does contradicts itself.
    """
    if not root.exists():
        raise LayoutError(f"there is no file or folder {root}", hint=_nearest(root))
    for layout in all_layouts():
        if layout.matches(root):
            return layout.read(root)
    raise LayoutError(f"{root} is in no known layout; it holds {_found(root)}", hint=accepted())


def accepted() -> str:
    """The accepted layouts, one a line."""
    sketches = [f"  {layout.name:20}{layout.sketch}" for layout in all_layouts()]
    return "arrange the data in one of these layouts:\n" + "\n".join(sketches)


def _nearest(root: Path) -> str:
    """The closest folder above ``root`` that does exist, and what is in it."""
    above = root.absolute().parent
    while not above.exists():
        above = above.parent
    return f"{above} holds {_found(above)}"


def _found(root: Path) -> str:
    if not root.is_dir():
        return f"no table: it is one file of {root.stat().st_size:,} bytes, and only a .csv or .tar file can be given"
    entries = sorted(entry for entry in root.iterdir() if not is_litter(entry.name))
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    return f"{_named('folder', folders)} and {_named('file', files)}"


def _named(noun: str, names: Sequence[str]) -> str:
    if not names:
        return f"no {noun}s"
    shown = ", ".join(printable(name) for name in names[:_MOST_NAMES])
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'} ({shown}{more})"
