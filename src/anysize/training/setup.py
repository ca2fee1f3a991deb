"""Everything that a run needs, built from its options."""

import csv
import hashlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anysize.atomic import write_text
from anysize.batching import Plan
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
from anysize.data.problems import printable
from anysize.errors import DataError, LayoutError, UsageError
from anysize.inference.classify import evaluation_plan
from anysize.inference.device import choose_device
from anysize.inference.requirements import leave_out_small, require_answers, require_sides
from anysize.loading import Normalisation, PlanLoader
from anysize.models import ModelCard, fixed_side, model_from_flags, smallest_side
from anysize.pairs import parse_pairs
from anysize.sizes import format_size
from anysize.training.config import TrainConfig
from anysize.training.fitting import fit_to_memory
from anysize.training.optimizers import create_optimizer
from anysize.training.pretrained import load_pretrained, normalisation_for, with_normalisation

__all__ = ["Setup", "data_options", "set_up", "write_left_out"]


@dataclass
class Setup:
    """The parts of a run, ready to start."""

    config: TrainConfig
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    normalisation: Normalisation
    card: ModelCard
    train: ImageDataset
    val: ImageDataset
    train_loader: PlanLoader
    val_loader: PlanLoader
    val_plan: Plan
    data_digest: str
    """SHA-256 of the images' names, classes and split, and of what decides how they are read."""
    left_out: list[FileProblem]
    """Files that take no part: no images, unreadable, too small."""


def data_options(config: TrainConfig) -> DataOptions:
    """The options that concern files."""
    return DataOptions(
        val_split=config.val_split,
        split_seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        max_image_pixels=config.max_image_pixels,
    )


def set_up(config: TrainConfig, console: Console) -> Setup:
    """Read and check the data, build the network and everything around it.

    Raises:
        AnysizeError: with what is wrong and how to fix it; nothing has been written.
    """
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    source, left_out = _read_source(config, console)
    channels = source.train.channels_for(config.in_channels)
    kwargs = parse_pairs("model-kwargs", config.model_kwargs)
    model = model_from_flags(config.model, config.model_kwargs, num_classes=len(source.classes), in_channels=channels)
    load_pretrained(config, model, source.classes, console)
    config = with_normalisation(config, channels, console)
    side = smallest_side(model, channels)
    require_sides(source.train.joined(_labelled(source)), side, config.model, config.max_side)
    _require_fitting(config, model, _datasets(config, source, channels, side))
    checked = _check(source, channels, config, console)
    left_out += checked.source.problems
    if left_out:
        console.warn(f"{len(left_out)} files take no part; they are listed in the run folder's left_out.csv")
    normalisation = normalisation_for(config, checked.mean, checked.std)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    train, val = _datasets(config, checked.source, channels, side)
    optimizer = create_optimizer(model, config)
    card = ModelCard(
        model=config.model,
        classes=source.classes,
        in_channels=channels,
        mean=normalisation.mean,
        std=normalisation.std,
        smallest_side=side,
        max_side=config.max_side,
        model_kwargs=kwargs,
    )
    console.say(
        f"{len(train)} training and {len(val)} validation images in {len(card.classes)} classes ({source.layout}); "
        f"{config.model}: {sum(p.numel() for p in model.parameters()):,} parameters, {channels} channel(s), on {device}"
    )
    config = fit_to_memory(config, model, optimizer, train, val, console)
    return Setup(
        config=config,
        model=model,
        optimizer=optimizer,
        device=device,
        normalisation=normalisation,
        card=card,
        train=train,
        val=val,
        train_loader=PlanLoader(train, workers=config.workers, pin_memory=device.type == "cuda"),
        val_loader=PlanLoader(val, workers=config.workers, pin_memory=device.type == "cuda"),
        val_plan=evaluation_plan(val, config.batch_size, config.pixel_limit),
        data_digest=_digest(card, train.table, val.table),
        left_out=left_out,
    )


def _require_fitting(config: TrainConfig, model: nn.Module, parts: tuple[ImageDataset, ImageDataset]) -> None:
    """Check that the network takes whatever augmentation makes of the images, and has one answer for each."""
    only = fixed_side(model)
    if only is not None and (config.scale != (1.0, 1.0) or config.crop < 1):
        low, high = config.scale
        raise UsageError(
            f"{config.model} takes images of {format_size((only, only))} alone, and --scale "
            f"{low:g} {high:g} --crop {config.crop:g} would change their sizes",
            hint="--scale 1 1 --crop 1 leaves every image at its size",
        )
    require_answers(parts, model, config.model)


def _digest(card: ModelCard, train: ImageTable, val: ImageTable) -> str:
    tables = [(table.paths, _labels(table).tolist()) for table in (train, val)]
    content = [card.classes, card.in_channels, card.mean, card.std, card.max_side, tables]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read_source(config: TrainConfig, console: Console) -> tuple[DataSource, list[FileProblem]]:
    if config.data is None:
        raise UsageError("no data was given", hint="anysize train FOLDER")
    with console.bar("reading sizes", 0) as bar:
        source = load_data(config.data, data_options(config), progress=bar.set, raise_unreadable=False)
    if source.train.labels is not None and len(source.classes) < 2:
        raise LayoutError(
            f"{config.data} has the single class {source.classes[0]!r}; a classifier needs two at least",
            hint="add images of another class",
        )
    if source.train.labels is None:
        raise LayoutError(
            f"{config.data} holds images without labels ({source.layout}); training needs a class for each",
            hint="sort the images into one folder a class, or write a CSV file with the columns path,label",
        )
    train, small_train = leave_out_small(source.train, config.min_side, config.max_side)
    val, small_val = leave_out_small(_labelled(source), config.min_side, config.max_side)
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
    counts = np.bincount(_labels(train), minlength=len(source.classes))
    lost = [printable(name) for name, count in zip(source.classes, counts, strict=True) if not count]
    if lost:
        raise DataError(
            f"--min-side {config.min_side} leaves no image to train on of: {', '.join(lost)}",
            hint="lower --min-side",
        )


def _labels(table: ImageTable) -> NDArray[np.int64]:
    assert table.labels is not None  # noqa: S101 - _read_source refuses images without labels
    return table.labels


def _labelled(source: DataSource) -> ImageTable:
    if source.val is None:
        raise DataError(
            f"there is no image to validate on in {source.root}: each class has a single one, or none was readable",
            hint="add images, or put some of each class into a val/ folder",
        )
    return source.val


def _check(source: DataSource, channels: Literal[1, 3], config: TrainConfig, console: Console) -> CheckedSource:
    with console.bar("checking that every image decodes", 0) as bar:
        checked = check_source(source, channels, data_options(config), progress=bar.set)
    for remark in checked.remarks[:5]:
        console.say(f"note: {remark.path}: {remark.reason}")
    if len(checked.remarks) > 5:
        console.say(f"note: ... and {len(checked.remarks) - 5} more such remarks")
    return checked


def _datasets(
    config: TrainConfig, source: DataSource, channels: Literal[1, 3], side: int
) -> tuple[ImageDataset, ImageDataset]:
    augmentation = Augmentation(
        hflip=config.hflip,
        vflip=config.vflip,
        scale=config.scale,
        crop=config.crop,
        color_jitter=config.color_jitter,
    )
    train = ImageDataset(
        source.train,
        channels,
        augmentation=augmentation,
        max_side=config.max_side,
        smallest_side=side,
        max_image_pixels=config.max_image_pixels,
        seed=config.seed,
    )
    val = ImageDataset(_labelled(source), channels, max_side=config.max_side, max_image_pixels=config.max_image_pixels)
    return train, val


def write_split(path: Path, setup: Setup) -> None:
    """Write which images are trained on and which are held out: columns path and part (train or val)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "part"])
    for part, dataset in (("train", setup.train), ("val", setup.val)):
        writer.writerows([printable(name), part] for name in dataset.table.paths)
    write_text(path, text.getvalue())


def write_left_out(path: Path, problems: list[FileProblem]) -> None:
    """Write which files take no part, and why: columns path and reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([problem.path, problem.reason] for problem in problems)
    write_text(path, text.getvalue())
