"""Classes that are named and not there, or there on one side of the split only."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.coding import IGNORED
from anysize.data.masks.palette import color_text
from anysize.data.problems import listed
from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.moves import moved
from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK", "is_named_as_none"]

Indices = NDArray[np.intp]

_OF_CODING = frozenset(
    ["beyond", "color", "deep", "foreground_255", "interpolated", "lossy", "sparse", "unknown_color"]
)
_MOST_NAMES = 24
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
    empty = np.flatnonzero((train == 0) & (val == 0))
    # A class that should be ignored need not be in both parts.
    meant = np.array([not is_named_as_none(survey, index) for index in range(len(survey.classes))], np.bool_)
    only_val, only_train = (
        np.flatnonzero(meant & (train == 0) & (val > 0)),
        np.flatnonzero(meant & (train > 0) & (val == 0)),
    )
    # Masks that cannot be read as classes have none, and are told already, with what to do.
    told = any(problem.kind in _OF_CODING and problem.severity == "error" for problem in survey.mask_problems)
    if only_val.size and not told:
        yield Finding(
            "classes",
            "error",
            f"{_count(only_val)} in validation, and without a {of} in training: {_listed(survey, only_val)}",
            "every class of validation in training too: nobody learns what is never shown",
            moved(survey, "val", "train", only_val.tolist())
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
    if empty.size and not told and (train + val).any():  # nothing at all: the check of ignored pixels says so
        yield Finding(
            "classes",
            "warning",
            f"{_count(empty)} named, and without a {of}: {_listed(survey, empty)}",
            f"at least one {of} of each class",
            f"{_unnamed(survey, empty)}; else leave them: metrics leave them out (they are not counted as 0)",
        )
    if only_train.size and not told and survey.part("val") is not None:
        yield Finding(
            "classes",
            "warning",
            f"{_count(only_train)} in training, and without a {of} in validation: {_listed(survey, only_train)}",
            "every class in validation: what it is worth there is not measured",
            moved(survey, "train", "val", only_train.tolist())
            if survey.has_own_split
            else "label more images that hold them; the split was drawn, and a larger --val-split holds out more",
        )
    yield from _named_as_none(survey, train + val)


def _named_as_none(survey: Survey, counts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Iterator[Finding]:
    for index, name in enumerate(survey.classes):
        if is_named_as_none(survey, index) and counts[index]:
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


def is_named_as_none(survey: Survey, index: int) -> bool:
    """Whether a class of masks has a name, such as "void", that says that its pixels have no label."""
    return survey.task == "segment" and survey.classes[index].strip().lower().translate(_JOINED) in _NOT_CLASSES


def _unnamed(survey: Survey, empty: Indices) -> str:
    """How classes are taken away: all of them renumbered, unless the last ones go."""
    num_left = len(survey.classes) - len(empty)
    coding, rules = survey.coding, survey.rules
    if survey.task != "segment" or (rules.values is None and rules.palette is None and empty.min() >= num_left):
        return "remove their names if they are not meant"
    if rules.palette is not None or (coding is not None and coding.colors is not None):
        return "take them out of --mask-palette if they are not meant"
    values = {} if coding is None else {label: value for value, label in reversed(list(enumerate(coding.lookup)))}
    left = [index for index in range(len(survey.classes)) if index not in empty.tolist()]
    if rules.reduce_zero_label or len(left) < 2 or not all(index in values for index in left):
        return (
            "remove their names if they are not meant (line k names value k: remove the last alone, or say with "
            "--mask-values which values the others have)"
        )
    ignored = [] if coding is None else [value for value, label in enumerate(coding.lookup) if label == IGNORED]
    also = [value for value in ignored if value != IGNORED]
    flags = f"--mask-values {','.join(str(values[index]) for index in left)}"
    flags += f" {rules.flag_ignoring(also)}" if also else ""
    names = f": {', '.join(survey.classes[index] for index in left)}" if len(left) <= _MOST_NAMES else ""
    return f"if they are not meant, {flags} --classes FILE, with the {len(left)} other names in FILE, one a line{names}"


def _listed(survey: Survey, indices: Indices) -> str:
    return listed([survey.classes[index] for index in indices], _MOST_NAMES)


def _count(indices: Indices) -> str:
    return f"{number(len(indices), 'class', 'classes')} {'is' if len(indices) == 1 else 'are'}"


CHECK = DataCheck("classes", 40, _run)
