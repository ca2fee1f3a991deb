"""Which images a network is evaluated on: what the run held out, the data's own split, or all."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anysize.config_file import read_mapping
from anysize.console import Console
from anysize.data import DataOptions, DataSource, FileProblem, ImageTable, check_source, load_data
from anysize.data.masks import IGNORED, UNKNOWN, MaskCoding
from anysize.data.masks.rules import mask_rules
from anysize.data.problems import printable
from anysize.errors import DataError, LayoutError, UsageError
from anysize.inference.config import EvalConfig
from anysize.inference.evaluation_masks import masks_of
from anysize.inference.requirements import leave_out_small
from anysize.inference.trained import TrainedNetwork
from anysize.options import MaskOptions

__all__ = ["EvaluationData", "choose_data"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationData:
    """The images of an evaluation, every one decoded once."""

    source: DataSource
    """With the split of the run where these are its own data."""
    table: ImageTable
    """The images; labels are numbered as the network's classes are."""
    coding: MaskCoding | None
    """What the masks' values are to the network; None for a classifier."""
    words: str
    """Which images, for people."""
    trained_with: dict[str, Any]
    """The options of the run, empty for weights without one."""
    own: bool
    """Whether these are the data that the run was trained on."""
    left_out: tuple[FileProblem, ...]
    """Files that take no part."""


def choose_data(config: EvalConfig, network: TrainedNetwork, console: Console) -> EvaluationData:
    """Read the data, choose the images and check that each can be read.

    Raises:
        UsageError: there are no data, or options of masks for a classifier.
        LayoutError: the data hold no labels, or masks for a classifier, or none for a segmenter.
        DataError: classes that the network does not know; no image is left; images that cannot be read.
    """
    run = config.require_run()
    path = run / "config.yaml"
    trained_with = read_mapping(path) if path.is_file() else {}
    data, own = _data(config, trained_with)
    masks = masks_of(config, network, data, console, own=own)
    if own:
        config = _as_trained(config, trained_with)
    options = _options(config, masks, trained_with if own else {})
    with console.bar("reading sizes", 0) as bar:
        source = load_data(data, options, progress=bar.set, raise_unreadable=False)
    _require_task(source, data, network, run)
    if own:
        source = _as_split_in_training(source, run, console)
    table, words = _choose(config, source, data, own=own)
    order = _order(source, network.card.classes, masks)
    coding = None if source.coding is None else _recoded(source.coding, order, len(network.card.classes))
    if table.labels is not None:
        table = replace(table, labels=order[table.labels])
    table, small = leave_out_small(table, config.min_side, network.card.max_side)
    if not len(table):
        raise DataError(f"--min-side {config.min_side} leaves none of the {words}", hint="lower --min-side")
    table, problems = _checked(options, network, source, table, console)
    left_out = (*source.ignored, *problems, *small)
    for problem in left_out:
        console.warn(f"left out: {problem}")
    return EvaluationData(
        source=source, table=table, coding=coding, words=words, trained_with=trained_with, own=own, left_out=left_out
    )


def _data(config: EvalConfig, trained_with: dict[str, Any]) -> tuple[Path, bool]:
    """Which data, and whether they are what the run was trained on."""
    own = trained_with.get("data")
    data = config.data or (None if own is None else Path(own))
    if data is None:
        raise UsageError("no data was given", hint="anysize eval RUN DATA")
    return data, own is not None and data.resolve() == Path(own).resolve()


def _as_trained(config: EvalConfig, trained_with: dict[str, Any]) -> EvalConfig:
    """On the run's own data, what the run left out is left out again, or these are not its held-out images."""
    return replace(
        config,
        min_side=trained_with.get("min_side") if config.min_side is None else config.min_side,
        skip_unreadable=config.skip_unreadable or trained_with.get("skip_unreadable", False),
    )


def _options(config: EvalConfig, masks: MaskOptions, own: dict[str, Any]) -> DataOptions:
    split = {"val_split": own["val_split"], "split_seed": own["seed"]} if own else {}
    return DataOptions(
        skip_unreadable=config.skip_unreadable,
        max_image_pixels=config.max_image_pixels,
        masks=mask_rules(masks),
        **split,
    )


def _require_task(source: DataSource, data: Path, network: TrainedNetwork, run: Path) -> None:
    """Check that the data have what the network's answers are compared with."""
    model = network.card.model
    unlabelled = source.task == "classify" and source.train.labels is None
    answers = f"anysize predict RUN {data} gives answers without comparing them"
    if network.task == "classify":
        if source.task == "segment":
            raise LayoutError(
                f"{data} holds label masks ({source.layout}), a class for each pixel; {model} in {run} is a classifier "
                "and has one answer for a whole image",
                hint="give images in one folder a class, or a CSV file with the columns path,label; a segmenter "
                "learns masks: anysize train DATA --model deeplabv3plus",
            )
        if unlabelled:
            raise LayoutError(
                f"{data} holds images without labels ({source.layout}); evaluation compares with labels", hint=answers
            )
        return
    if unlabelled:
        raise LayoutError(
            f"{data} holds images without masks ({source.layout}); evaluation compares with masks",
            hint=f"{answers}: --output FOLDER writes the masks",
        )
    if source.task == "classify":
        raise LayoutError(
            f"{data} holds one class for a whole image ({source.layout}); {model} in {run} is a segmenter, and "
            "evaluation compares each pixel with a mask",
            hint="give images with masks: folders images/ and masks/, or a CSV file with the columns path,mask; "
            f"anysize predict RUN {data} --output FOLDER writes masks without comparing them",
        )


def _choose(config: EvalConfig, source: DataSource, data: Path, *, own: bool) -> tuple[ImageTable, str]:
    """The images, and what they are in words.

    Args:
        config: ``split``.
        source: with the split of the run where these are its own data.
        data: folder or CSV file.
        own: whether these are the data that the run was trained on.
    """
    wanted = config.split
    if wanted == "auto":
        wanted = "val" if source.val is not None and (own or source.has_own_split) else "all"
    if wanted == "val" and source.val is None:
        raise DataError(f"{data} has no validation images", hint="--split all")
    if wanted == "val" and source.val is not None:
        held_out = "its val split" if source.has_own_split else "those that the run held out"
        return source.val, f"validation images of {data} ({held_out})"
    if wanted == "train" or source.val is None:
        return source.train, f"training images of {data}" if wanted == "train" else f"all images of {data}"
    return source.train.joined(source.val), f"all images of {data}"


def _as_split_in_training(source: DataSource, run: Path, console: Console) -> DataSource:
    """Split the images as the run did: drawn anew, the split would change with every file that comes or goes."""
    record = run / "split.csv"
    if source.val is None or not record.is_file():
        return source
    parts = {row["path"]: row["part"] for row in _read_csv(record)}
    for row in _read_csv(run / "left_out.csv"):
        parts.setdefault(row["path"], "val")  # the same limits will leave it out again, and say so
    table = source.train.joined(source.val)
    found = np.array([parts.get(printable(path), "") for path in table.paths])
    num_new = int((found == "").sum())
    if num_new:
        have = "1 image has" if num_new == 1 else f"{num_new} images have"
        console.warn(f"{have} come since the run was trained, in neither of its parts")
    if not (found == "val").any():
        raise DataError(f"none of the images that {run} held out is in {source.root} any more", hint="--split all")
    return replace(source, train=table.select(found == "train"), val=table.select(found == "val"))


def _read_csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _order(source: DataSource, known: Sequence[str], masks: MaskOptions) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each class of the data its number in the network: they agree by name, not by their place.

    Raises:
        DataError: a class that the network does not know.
    """
    unknown = sorted(set(source.classes) - set(known))
    if unknown:
        hint = "rename the class folders, or leave those classes out"
        if source.coding is not None:
            hint = _ignoring(unknown, source.classes, source.coding, masks) + (
                "--classes FILE, one name a line, says what the values of the masks are called"
            )
        raise DataError(
            f"the data has classes that the network was not trained on: {', '.join(unknown)}; "
            f"it knows {', '.join(known)}",
            hint=hint,
        )
    return np.array([known.index(name) for name in source.classes], dtype=np.int64)


def _ignoring(unknown: Sequence[str], classes: Sequence[str], coding: MaskCoding, masks: MaskOptions) -> str:
    """The flag that leaves the unknown classes out, where there is one."""
    numbers = {classes.index(name) for name in unknown}
    values = [value for value, meaning in enumerate(coding.lookup) if meaning in numbers]
    listed = ", ".join(unknown)
    named = coding.colors is None and masks.mask_values is None  # else the flag would undo what these say
    if not (named and values) or len(unknown) == len(classes):
        return ""
    return f"{mask_rules(masks).flag_ignoring(values)} leaves the pixels of {listed} out of every figure; "


def _recoded(coding: MaskCoding, order: np.ndarray[tuple[int], np.dtype[np.int64]], num_classes: int) -> MaskCoding:
    """What the masks' values are to the network, whose classes are numbered otherwise."""

    def renumbered(meaning: int) -> int:
        return meaning if meaning in (IGNORED, UNKNOWN) else int(order[meaning])

    return MaskCoding(
        num_classes=num_classes,
        lookup=tuple(renumbered(meaning) for meaning in coding.lookup),
        colors=None
        if coding.colors is None
        else tuple((color, renumbered(meaning)) for color, meaning in coding.colors),
    )


def _checked(
    options: DataOptions, network: TrainedNetwork, source: DataSource, table: ImageTable, console: Console
) -> tuple[ImageTable, tuple[FileProblem, ...]]:
    """Decode every image and mask once, so that one error can name all that are broken."""
    unlabelled = replace(source, train=replace(table, labels=None), val=None, classes=())
    if source.task == "segment":
        unlabelled = replace(source, train=table, val=None)
    with console.bar("checking that every image decodes", 0) as bar:
        checked = check_source(unlabelled, network.channels, options, progress=bar.set).source
    kept = set(checked.train.paths)
    keep = np.array([path in kept for path in table.paths])
    return table.select(keep), checked.problems
