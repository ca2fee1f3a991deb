"""How much of the masks is ignored."""

from collections.abc import Iterator

import numpy as np

from anysize.doctor.data.checks import DataCheck, number, share
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK", "MOST_IGNORED"]

MOST_IGNORED = 0.5
"""Above this share of ignored pixels an image, or the whole, is named."""


def _run(survey: Survey) -> Iterator[Finding]:
    void: list[str] = []
    mostly: list[str] = []
    ignored = total = num_masks = 0
    without: list[tuple[str, tuple[str, ...]]] = []
    for part in survey.parts:
        census, masks = part.census, part.table.masks
        if census is None or masks is None:
            continue
        sizes = census.counts.sum(axis=1, dtype=np.int64) + census.ignored + census.unknown
        empty = tuple(masks[row] for row in np.flatnonzero(census.ignored == sizes))
        if len(empty) == len(masks) > 0:
            without.append((part.name, empty))
        void += empty
        mostly += [
            masks[row] for row in np.flatnonzero((census.ignored > MOST_IGNORED * sizes) & (census.ignored < sizes))
        ]
        ignored, total, num_masks = ignored + census.num_ignored, total + int(sizes.sum()), num_masks + len(masks)
    if void and len(void) == num_masks:
        yield Finding(
            "ignored",
            "error",
            f"every pixel of all {number(len(void), 'mask')} is ignored: no loss would be counted",
            "labelled pixels",
            "if 255 is a class here: --mask-values 0,255",
            tuple(void),
        )
        return
    for name, masks in without:
        yield Finding(
            "ignored",
            "error",
            f"every pixel of all {number(len(masks), 'mask')} of {name} is ignored: nothing to "
            + ("learn" if name == "train" else "judge by"),
            "labelled pixels in each part",
            "--ignore-label names the value that has no label; or other images for this part",
            masks,
        )
    if total and ignored > MOST_IGNORED * total:
        yield Finding(
            "ignored",
            "warning",
            f"{share(ignored, total)} of all mask pixels are ignored",
            f"at most {100 * MOST_IGNORED:.0f} %",
            "look at the overlays: is a class coded with the ignore label? --ignore-label names another",
        )
    if mostly:
        yield Finding(
            "ignored",
            "note",
            f"more than {100 * MOST_IGNORED:.0f} % of the pixels are ignored in {number(len(mostly), 'mask')}",
            "",
            "",
            tuple(mostly),
        )


CHECK = DataCheck("ignored", 42, _run)
