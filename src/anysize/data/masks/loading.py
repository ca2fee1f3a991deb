"""The masks of a listing: decoded once, understood, counted and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anysize.data.formats import Listing
from anysize.data.index import Progress, SizeIndex
from anysize.data.masks.census import MaskCensus, count_classes
from anysize.data.masks.checks import mask_problems
from anysize.data.masks.facts import MaskFacts
from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.mask_set import MaskSet
from anysize.data.masks.meaning import MaskMeaning, mask_meaning
from anysize.data.masks.rules import MaskRules
from anysize.data.options import DataOptions
from anysize.data.problems import FileProblem
from anysize.data.scanning import Scanned, scan_masks

__all__ = ["ReadMasks", "read_masks"]


@dataclass(frozen=True, eq=False)
class ReadMasks:
    """What is known of the masks of a data set.

    Args:
        scanned: the images whose header and mask can be read, with their masks.
        meaning: what the masks' values mean.
        census: pixels of each class in each mask of the table.
        problems: what is wrong with masks that can be read, errors first.
    """

    scanned: Scanned
    meaning: MaskMeaning
    census: MaskCensus
    problems: tuple[MaskProblem, ...]


def read_masks(
    listing: Listing,
    masks: Sequence[str],
    scanned: Scanned,
    options: DataOptions,
    index: SizeIndex | None,
    progress: Progress | None,
) -> ReadMasks:
    """Decode every mask that ``index`` has not seen decoded, and find out all about them.

    One mask at a time is in memory for each thread; what is kept of each are a few numbers for each of its values.

    Args:
        listing: from `read_listing`.
        masks: its masks, one for each of its images.
        scanned: the images of the listing.
        options: see `DataOptions`.
        index: known masks; None for the user's own.
        progress: told (masks done, masks in all).

    Raises:
        DataError: class names that do not fit what flags and layout say.
    """
    rows = np.flatnonzero(scanned.readable).tolist()
    table = replace(scanned.table, masks=tuple(masks[row] for row in rows))
    found, orientations, notes = scan_masks(table, table.masks or (), options, index, progress)
    good = np.array([isinstance(item, MaskFacts) for item in found], np.bool_)
    facts = [item for item in found if isinstance(item, MaskFacts)]
    readable = scanned.readable.copy()
    readable[scanned.readable] = good
    kept = table.select(good)
    names = kept.masks or ()
    meaning = mask_meaning(listing, options.masks, names, facts)
    given = MaskSet(listing.root, names, facts, kept.sizes, orientations[good], meaning, options.masks)
    return ReadMasks(
        scanned=Scanned(
            table=kept,
            readable=readable,
            problems=(*scanned.problems, *(item for item in found if isinstance(item, FileProblem))),
            notes=tuple(dict.fromkeys((*scanned.notes, *notes, *_on_ignore_labels(options.masks, facts)))),
        ),
        meaning=meaning,
        census=count_classes(names, facts, meaning.coding),
        problems=tuple(mask_problems(given)) if facts else (),
    )


def _on_ignore_labels(rules: MaskRules, facts: Sequence[MaskFacts]) -> tuple[str, ...]:
    """What was given as the ignore label and is nowhere: a slip, perhaps, beside the value that was meant."""
    if any(fact.in_color for fact in facts):
        return ()
    missing = [value for value in rules.given_labels if not any(value in fact.values for fact in facts)]
    return tuple(f"no mask holds the ignore label {value}" for value in missing if facts)
