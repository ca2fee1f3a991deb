"""Classes that are named and not there, or there on one side of the split only."""

from collections.abc import Iterator

import numpy as np

from anysize.data.masks.palette import color_text
from anysize.data.problems import listed
from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK"]

_RENUMBERED = " (line k names value k: remove the last alone, or say with --mask-values which values the others have)"
_OF_CODING = frozenset(
    ["beyond", "color", "deep", "foreground_255", "interpolated", "lossy", "sparse", "unknown_color"]
)
_JOINED = str.maketrans("", "", " _-'")
_NOT_CLASSES = frozenset(
    [
        "void",
        "unlabelled",
        "unlabeled",
        "ignore",
        "ignored",
        "unknown",
        "dontcare",
        "undefined",
        "unclassified",
        "nodata",
    ]
)


def _run(survey: Survey) -> Iterator[Finding]:
    if (
        survey.task == "none"
        or not survey.classes
        or (survey.task == "segment" and all(part.census is None for part in survey.parts))
    ):
        return
    of = "pixel" if survey.task == "segment" else "image"
    train, val = survey.class_counts("train")[:-1], survey.class_counts("val")[:-1]
    empty = _names(survey, (train == 0) & (val == 0))
    only_val = _names(survey, (train == 0) & (val > 0))
    only_train = _names(survey, (train > 0) & (val == 0))
    # Masks that cannot be read as classes have none, and are told already, with what to do.
    told = any(problem.kind in _OF_CODING and problem.severity == "error" for problem in survey.mask_problems)
    if only_val and not told:
        yield Finding(
            "classes",
            "error",
            f"{_count(only_val)} in validation, and without a {of} in training: {listed(only_val)}",
            "every class of validation in training too: nobody learns what is never shown",
            "move images that hold them from validation to training"
            if survey.has_own_split
            else "label more images that hold them; the split was drawn, and another --val-split draws another one",
        )
    if np.count_nonzero(train) == 1 and not told:
        only = survey.classes[int(np.argmax(train))]
        yield Finding(
            "classes",
            "error",
            f"training holds the one class {listed([only])} alone: there is nothing to tell apart",
            "two classes or more",
            "see the values in the masks, and look at the overlays: --mask-values names those that are classes"
            if survey.task == "segment"
            else "give each class a folder",
        )
    if empty and not told and (train + val).any():  # nothing at all: the check of ignored pixels says so
        yield Finding(
            "classes",
            "warning",
            f"{_count(empty)} named, and without a {of}: {listed(empty, 24)}",
            f"at least one {of} of each class",
            "remove their names if they are not meant"
            + _RENUMBERED * (survey.task == "segment")
            + "; metrics leave them out (they are not counted as 0)",
        )
    if only_train and not told and survey.part("val") is not None:
        yield Finding(
            "classes",
            "warning",
            f"{_count(only_train)} in training, and without a {of} in validation: {listed(only_train, 24)}",
            "every class in validation: what it is worth there is not measured",
            "move images that hold them to validation"
            if survey.has_own_split
            else "label more images that hold them; the split was drawn, and a larger --val-split holds out more",
        )
    yield from _named_as_none(survey, train + val)


def _named_as_none(survey: Survey, counts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Iterator[Finding]:
    if survey.task != "segment":
        return
    for index, name in enumerate(survey.classes):
        if name.strip().lower().translate(_JOINED) in _NOT_CLASSES and counts[index]:
            yield Finding(
                "classes",
                "warning",
                f"class {index} is named {listed([name])} and counts as a class with {int(counts[index]):,} pixels: "
                "it would be learnt, and enters the mean IoU",
                "pixels without a label are ignored",
                _ignoring(survey, index),
            )


def _ignoring(survey: Survey, index: int) -> str:
    """How the files' value of a class is made one without a label: the class's number may be another."""
    rules, coding = survey.rules, survey.coding
    if coding is not None and coding.colors is not None:
        colors = [color_text(color) for color, meaning in coding.colors if meaning == index]
        return f"--mask-palette with {', '.join(f'{color}=ignore' for color in colors)}"
    values = [index] if coding is None else [v for v, meaning in enumerate(coding.lookup) if meaning == index]
    flag = rules.flag_ignoring(values)
    if rules.values is None:
        return flag
    others = [str(value) for value in rules.values if value not in values]
    if len(others) < 2:
        return f"{flag} in place of --mask-values, if the other values are 0, 1, ..."
    return f"--mask-values {','.join(others)} {flag}, with one name for each value left where classes are named"


def _names(survey: Survey, which: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> list[str]:
    return [survey.classes[index] for index in np.flatnonzero(which)]


def _count(names: list[str]) -> str:
    return f"{number(len(names), 'class', 'classes')} {'is' if len(names) == 1 else 'are'}"


CHECK = DataCheck("classes", 40, _run)
