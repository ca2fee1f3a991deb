"""The data of a run: read, checked, split, and made into samples."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anysize.atomic import write_text
from anysize.console import Console
from anysize.data import (
    Augmentation,
    CheckedSource,
    DataOptions,
    DataSource,
    FileProblem,
    ImageDataset,
    ImageTable,
    check_source,
    load_data,
)
from anysize.data.masks.rules import mask_rules
from anysize.data.patches import PatchDataset
from anysize.data.problems import describe, printable
from anysize.doctor.data.checks import number
from anysize.doctor.data.checks.splits import CHECK
from anysize.doctor.data.survey import Part, Survey
from anysize.errors import DataError, LayoutError, UsageError
from anysize.inference.requirements import leave_out_small
from anysize.training.config import TrainConfig

__all__ = ["check", "data_options", "datasets", "held_out", "images_of", "read_source", "write_left_out", "write_split"]


def data_options(config: TrainConfig) -> DataOptions:
    """The options that concern files."""
    return DataOptions(
        val_split=config.val_split,
        split_seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        max_image_pixels=config.max_image_pixels,
        masks=mask_rules(config),
    )


def read_source(config: TrainConfig, console: Console) -> tuple[DataSource, list[FileProblem]]:
    """Read the layout and every header; returns the source, and the files that take no part.

    Raises:
        UsageError, LayoutError, DataError: there are no data, or nothing can be learned from them.
    """
    if config.data is None:
        raise UsageError("no data was given", hint="anysize train FOLDER")
    with console.bar("reading sizes", 0) as bar:
        source = load_data(config.data, data_options(config), progress=bar.set, raise_unreadable=False)
    if source.task == "classify" and source.train.labels is None:
        raise LayoutError(
            f"{config.data} holds images without labels ({source.layout}); training needs a class for each",
            hint="sort the images into one folder a class, or write a CSV file with the columns path,label; a "
            "segmenter needs a mask for each, in a folder masks/ beside images/",
        )
    if len(source.classes) < 2:
        what = "classifier" if source.task == "classify" else "segmenter"
        raise LayoutError(
            f"{config.data} has the single class {source.classes[0]!r}; a {what} needs two at least",
            hint="add images of another class",
        )
    train, small_train = leave_out_small(source.train, config.min_side, config.max_side)
    val, small_val = leave_out_small(held_out(source), config.min_side, config.max_side)
    if not len(train) or not len(val):
        raise DataError(
            f"--min-side {config.min_side} leaves {len(train)} training and {len(val)} validation images; "
            f"at least one of each is required",
            hint="lower --min-side",
        )
    _require_classes(config, source, train)
    for note in source.notes:
        console.say(f"note: {note}")
    return replace(source, train=train, val=val), [*source.ignored, *small_train, *small_val]


def _require_classes(config: TrainConfig, source: DataSource, train: ImageTable) -> None:
    if train.labels is None:
        return
    counts: NDArray[np.int64] = np.bincount(train.labels, minlength=len(source.classes))
    lost = [printable(name) for name, count in zip(source.classes, counts, strict=True) if not count]
    if lost:
        raise DataError(
            f"--min-side {config.min_side} leaves no image to train on of: {', '.join(lost)}",
            hint="lower --min-side",
        )


def held_out(source: DataSource) -> ImageTable:
    """The images to validate on.

    Raises:
        DataError: there are none.
    """
    if source.val is None:
        raise _nothing_held_out(source)
    return source.val


def _nothing_held_out(source: DataSource) -> DataError:
    """What `anysize doctor` says of such data, and what has led to it."""
    parts = (Part(name="train", table=source.train),)
    survey = Survey(
        root=source.root, layout=source.layout, task=source.task, classes=source.classes, parts=parts,
        has_own_split=source.has_own_split,
    )  # fmt: skip
    finding = next(iter(CHECK.run(survey)))
    causes, fix = [], finding.fix
    if source.has_own_split:
        readable = " that can be read" if source.problems else ""
        causes.append(f"the split that {source.root} ({source.layout}) brings has none{readable}")
    else:  # a share was to be drawn, and what is wanting is images; the last note is that of the draw
        causes += [note for note in source.notes[-1:] if note != finding.found]
        fix = "add images: of one that is held out, its class needs another to train on"
    if source.problems:
        causes.append(f"{number(len(source.problems), 'file')} cannot be read:\n{describe(source.problems)}")
        fix = f"repair the files, or {fix}"
    return DataError(f"{finding.found}: {'; '.join(causes)}", hint=fix)


def check(source: DataSource, channels: Literal[1, 3], config: TrainConfig, console: Console) -> CheckedSource:
    """Decode every image once; say what is remarkable about some."""
    with console.bar("checking that every image decodes", 0) as bar:
        checked = check_source(source, channels, data_options(config), progress=bar.set)
    for remark in checked.remarks[:5]:
        console.say(f"note: {remark.path}: {remark.reason}")
    if len(checked.remarks) > 5:
        console.say(f"note: ... and {len(checked.remarks) - 5} more such remarks")
    return checked


def datasets(
    config: TrainConfig, source: DataSource, channels: Literal[1, 3], side: int
) -> tuple[ImageDataset | PatchDataset, ImageDataset]:
    """The samples to train on, varied as the options say, and those to validate on, as they are."""
    augmentation = Augmentation(
        hflip=config.hflip,
        vflip=config.vflip,
        scale=config.scale,
        aspect=config.aspect,
        crop=config.crop,
        # A patch is a window itself.
        crop_size=None if source.task == "segment" and config.see == "patches" else config.crop_size,
        rotate=config.rotate,
        color_jitter=config.color_jitter,
        hue=config.hue,
    )
    is_sampled = source.task == "segment" and config.see == "sampled" and config.sample_by == "random"
    train = ImageDataset(
        source.train,
        channels,
        coding=source.coding,
        augmentation=augmentation,
        max_side=config.max_side,
        start=config.start,
        smallest_side=side,
        max_image_pixels=config.max_image_pixels,
        seed=config.seed,
        sample_share=config.sample_share if is_sampled else 1.0,
    )
    val = ImageDataset(
        held_out(source),
        channels,
        coding=source.coding,
        max_side=config.max_side,
        max_image_pixels=config.max_image_pixels,
    )
    if source.task == "segment" and config.see == "patches":
        if config.patches == "grid" and augmentation.resamples:
            train.augmentation = augmentation.without_resampling()
        overlap = config.grid_overlap if config.patches == "grid" else 0
        return PatchDataset(train, size=config.patch_size, by=config.patches, overlap=overlap), val
    return train, val


def images_of(samples: ImageDataset | PatchDataset) -> ImageDataset:
    """The images that samples are parts of, or that they are."""
    return samples.dataset if isinstance(samples, PatchDataset) else samples


def write_split(path: Path, parts: Sequence[tuple[str, ImageTable]]) -> None:
    """Write which images are trained on and which are held out: columns path and part (train or val)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "part"])
    for part, table in parts:
        writer.writerows([printable(name), part] for name in table.paths)
    write_text(path, text.getvalue())


def write_left_out(path: Path, problems: list[FileProblem]) -> None:
    """Write which files take no part, and why: columns path and reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([problem.path, problem.reason] for problem in problems)
    write_text(path, text.getvalue())
