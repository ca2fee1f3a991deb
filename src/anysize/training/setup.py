"""Everything that a run needs, built from its options."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anysize.batching import Plan
from anysize.console import Console
from anysize.data import DataSource, FileProblem, ImageDataset, ImageTable
from anysize.data.masks import IGNORED
from anysize.data.patches import PatchDataset
from anysize.errors import UsageError
from anysize.inference.classify import evaluation_plan
from anysize.inference.device import choose_device
from anysize.inference.requirements import require_sides
from anysize.loading import Normalisation, PlanLoader
from anysize.losses import class_weights_from_counts, create_objective, parse_class_weights
from anysize.models import ModelCard, fixed_side, model_from_flags, smallest_side
from anysize.pairs import parse_pairs
from anysize.sizes import format_size
from anysize.stepping.criterion import Criterion
from anysize.stepping.optimizers import create_optimizer, default_lr, default_weight_decay, takes_momentum
from anysize.training.config import TrainConfig
from anysize.training.fitting import fit_to_memory
from anysize.training.labelled import require_labels
from anysize.training.normalising import prepare_batch_norm
from anysize.training.pretrained import load_pretrained, normalisation_for, with_normalisation
from anysize.training.recipe import with_recipe
from anysize.training.remarks import remarks
from anysize.training.seeing import with_seeing
from anysize.training.source import check, datasets, held_out, images_of, read_source
from anysize.training.start import require_start_sides, require_whole, told_start, with_start
from anysize.training.tasks import Task, task_for

__all__ = ["Setup", "build_optimizer", "set_up"]


@dataclass
class Setup:
    """The parts of a run, ready to start."""

    config: TrainConfig
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: Criterion
    device: torch.device
    normalisation: Normalisation
    card: ModelCard
    train: ImageDataset | PatchDataset
    val: ImageDataset
    train_loader: PlanLoader
    val_loader: PlanLoader
    val_plan: Plan
    data_digest: str
    """SHA-256 of the images' names, classes and split, and of what decides how they are read."""
    left_out: list[FileProblem]
    """Files that take no part: no images, unreadable, too small."""


def set_up(config: TrainConfig, console: Console) -> Setup:
    """Read and check the data, build the network and everything around it.

    Raises:
        AnysizeError: with what is wrong and how to fix it; nothing has been written.
    """
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    source, left_out = read_source(config, console)
    require_labels(source)
    task = task_for(source.task)
    config = with_seeing(config, source.task, console)
    config = with_recipe(config, source.task, console)
    require_whole(config)
    channels = source.train.channels_for(config.in_channels)
    kwargs = parse_pairs("model-kwargs", config.model_kwargs)
    model = model_from_flags(config.model, config.model_kwargs, num_classes=len(source.classes), in_channels=channels)
    config = load_pretrained(config, model, source.classes, console)
    config = with_normalisation(config, channels, console)
    side = smallest_side(model, channels)
    require_sides(source.train.joined(held_out(source)), side, config.model, config.max_side)
    require_start_sides(config, source.train, side)
    _require_fitting(config, model, source, channels, side, task)
    criterion = _criterion(config, source)
    config = _with_rates(config, console)
    build_optimizer(config, model)  # its options are an error now, not when all images are decoded
    checked = check(source, channels, config, console)
    left_out += checked.source.problems
    if left_out:
        console.warn(f"{len(left_out)} files take no part; they are listed in the run folder's left_out.csv")
    normalisation = normalisation_for(config, checked.mean, checked.std)
    train, val = datasets(config, checked.source, channels, side)
    config = with_start(config, train)
    for remark in remarks(config, model, train):
        console.say(f"note: {remark}")
    told = told_start(config, train)
    if told is not None:
        console.say(told)
    config = prepare_batch_norm(config, model, train, channels, console)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = build_optimizer(config, model)
    card = ModelCard(
        model=config.model,
        classes=source.classes,
        in_channels=channels,
        mean=normalisation.mean,
        std=normalisation.std,
        smallest_side=side,
        max_side=config.max_side,
        model_kwargs=kwargs,
        norm="group" if config.batch_norm == "group" else "batch",
        palette=source.palette or (),
    )
    console.say(
        f"{_counted(train)} and {len(val)} validation images in {len(card.classes)} classes ({source.layout}); "
        f"{config.model}: {sum(p.numel() for p in model.parameters()):,} parameters, {channels} channel(s), on {device}"
    )
    config = fit_to_memory(config, model, optimizer, train, val, console)
    if not criterion.objective.splits_exactly:
        console.say(
            f"note: {criterion.objective.spec} is over the images that go through the network at once; a step that "
            "needs several passes (--max-pixels, or memory) averages theirs"
        )
    return Setup(
        config=config,
        task=task,
        model=model,
        optimizer=optimizer,
        criterion=criterion,
        device=device,
        normalisation=normalisation,
        card=card,
        train=train,
        val=val,
        train_loader=PlanLoader(train, workers=config.workers, pin_memory=device.type == "cuda"),
        val_loader=PlanLoader(val, workers=config.workers, pin_memory=device.type == "cuda"),
        val_plan=evaluation_plan(val, config.batch_size, config.pixel_limit),
        data_digest=_digest(card, images_of(train).table, val.table),
        left_out=left_out,
    )


def _counted(train: ImageDataset | PatchDataset) -> str:
    count = f"{len(images_of(train))} training images"
    return f"{count} ({len(train)} patches an epoch)" if isinstance(train, PatchDataset) else count


def _with_rates(config: TrainConfig, console: Console) -> TrainConfig:
    """With rate and decay as numbers, where they were left to the optimiser."""
    lr = default_lr(config.opt) if config.lr is None else config.lr
    decay = default_weight_decay(config.opt) if config.weight_decay is None else config.weight_decay
    console.say(f"optimiser   {config.opt}: rate {lr:g}, weight decay {decay:g}")
    return config.resolved(lr=lr, weight_decay=decay)


def build_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of a run; ``config.lr`` is known."""
    return create_optimizer(
        model,
        name=config.opt,
        lr=config.peak_lr,
        momentum=config.momentum if takes_momentum(config.opt) else None,
        weight_decay=config.weight_decay,
        backbone_lr=config.backbone_lr,
        options=parse_pairs("opt-kwargs", config.opt_kwargs),
    )


def _require_fitting(
    config: TrainConfig, model: nn.Module, source: DataSource, channels: Literal[1, 3], side: int, task: Task
) -> None:
    """Check that the network takes whatever augmentation makes of the images, and answers as the task needs it."""
    only = fixed_side(model)
    if only is not None and (config.scale != (1.0, 1.0) or config.crop < 1):
        low, high = config.scale
        raise UsageError(
            f"{config.model} takes images of {format_size((only, only))} alone, and --scale "
            f"{low:g} {high:g} --crop {config.crop:g} would change their sizes",
            hint="--scale 1 1 --crop 1 leaves every image at its size",
        )
    task.require_network(model, config.model, datasets(config, source, channels, side), channels)


def _criterion(config: TrainConfig, source: DataSource) -> Criterion:
    weights = _class_weights(config, source)
    objective = create_objective(
        config.loss,
        num_classes=len(source.classes),
        # 255 is a class like any other where whole images have one.
        ignore_label=IGNORED if source.task == "segment" else None,
        class_weights=weights,
        label_smoothing=config.label_smoothing,
        options=config.loss_kwargs,
    )
    if source.task == "classify" and not objective.takes_labels:
        raise UsageError(
            f"--loss {config.loss} needs a class for each pixel, and {config.data} has one for each image",
            hint="--loss ce, or focal",
        )
    is_hardest = config.see == "sampled" and config.sample_by == "hardest" and source.task == "segment"
    return Criterion(objective, config.aux_weight, config.sample_share if is_hardest else 1.0)


def _class_weights(config: TrainConfig, source: DataSource) -> tuple[float, ...] | None:
    """One weight a class for cross-entropy, as --class-weights says."""
    weights = parse_class_weights(config.class_weights)
    if isinstance(weights, str):
        return class_weights_from_counts(_class_counts(source).tolist(), weights)
    if weights is not None and len(weights) != len(source.classes):
        names = ", ".join(source.classes)
        raise UsageError(
            f"--class-weights has {len(weights)} numbers, and there are {len(source.classes)} classes: {names}",
            hint="give one number a class, or 'balanced'",
        )
    return weights


def _class_counts(source: DataSource) -> NDArray[np.int64]:
    """(K,) training pixels of each class, or training images."""
    if source.train_census is not None:
        return np.asarray(source.train_census.class_pixels)
    labels = np.zeros(0, np.int64) if source.train.labels is None else source.train.labels
    return np.bincount(labels, minlength=len(source.classes))


def _digest(card: ModelCard, train: ImageTable, val: ImageTable) -> str:
    tables = [
        (table.paths, None if table.labels is None else table.labels.tolist(), table.masks) for table in (train, val)
    ]
    content = [card.classes, card.in_channels, card.mean, card.std, card.max_side, tables]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
