"""Images without contrast, of uncommon depth, or stretched one by one; grey images stored as colour."""

from collections.abc import Iterator, Sequence

from anysize.data.problems import FileProblem
from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK", "DARK"]

DARK = 26
"""An image whose brightest grey level is below this (a tenth of the range) is nearly black."""


def _run(survey: Survey) -> Iterator[Finding]:
    seen = survey.seen
    flat = [item.path for item in seen if item.look.low == item.look.high]
    dark = [item.path for item in seen if item.look.low < item.look.high < DARK]
    if flat:
        yield Finding(
            "pixel-values",
            "warning",
            f"{number(len(flat), 'image')} of one single grey level: nothing can be seen in them",
            "images with contrast",
            "look at them, and remove those that are empty",
            tuple(flat),
        )
    if dark:
        yield Finding(
            "pixel-values",
            "warning",
            f"{number(len(dark), 'image')} with no pixel brighter than {DARK - 1} of 255: nearly black",
            "the whole range 0..255",
            "store them with one scale for all images: 8-bit files of small numbers are often label masks or 12-bit "
            "data",
            tuple(dark),
        )
    yield from _remarks([FileProblem(item.path, item.look.remark) for item in seen if item.look.remark])
    if not seen:
        return
    grey = [item.path for item in seen if item.look.grey_as_color]
    if len(grey) == len(seen):
        yield Finding(
            "pixel-values",
            "note",
            "all images are grey and stored with three equal channels",
            "",
            "--in-channels 1 reads one: a third of the input (pretrained weights want 3)",
        )
    deep = [item.path for item in seen if item.look.mode.startswith("I") or item.look.mode == "F"]
    if 0 < len(deep) < len(seen):
        yield Finding(
            "pixel-values",
            "warning",
            f"{number(len(deep), 'image')} of 16 bit or more among images of 8 bit: they may differ in brightness",
            "one depth for all images",
            "convert them all with one scale",
            tuple(deep),
        )


def _remarks(remarks: Sequence[FileProblem]) -> Iterator[Finding]:
    """One finding for each kind of remark: the figures within differ from file to file."""
    kinds: dict[str, list[FileProblem]] = {}
    for remark in remarks:
        kinds.setdefault("".join(c for c in remark.reason if not c.isdigit() and c not in ".-+e"), []).append(remark)
    for same in kinds.values():
        yield Finding(
            "pixel-values",
            "warning",
            f"{number(len(same), 'image')}: {same[0].reason}" + (" (and the like)" if len(same) > 1 else ""),
            "pixels that mean the same in every image",
            "look at them; save them without transparency, or remove those that are empty"
            if "transparent" in same[0].reason
            else "look at them; store them as 8 or 16 bit, with one scale for all images",
            tuple(remark.path for remark in same),
        )


CHECK = DataCheck("pixel-values", 60, _run)
