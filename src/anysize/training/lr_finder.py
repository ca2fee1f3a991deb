"""`find_lr`: a short sweep over learning rates on the data, network and options of a run, and what it suggests."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anysize.atomic import write_text
from anysize.console import Console
from anysize.doctor.sweep import SweepResult, sweep
from anysize.errors import NonFiniteLossError
from anysize.loading import EpochPlanner, RawBatch
from anysize.models import has_batch_statistics
from anysize.stepping.criterion import targets_of
from anysize.stepping.passes import Passes
from anysize.stepping.step import train_step
from anysize.training.lr_config import LrConfig
from anysize.training.normalising import Normalising
from anysize.training.progress import RunProgress
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup, build_optimizer, set_up

__all__ = ["LrFound", "find_lr", "step_batches"]


@dataclass(frozen=True, kw_only=True)
class LrFound:
    """What a sweep came to."""

    result: SweepResult
    figure: Path
    table: Path
    """CSV with the columns rate, loss and smoothed."""


def find_lr(config: LrConfig, *, console: Console | None = None) -> LrFound:
    """Sweep the learning rate; what `anysize lr` does. Nothing is trained: the weights are as new afterwards.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    from anysize.reporting.lr_sweep import draw_lr_sweep

    console = console or Console()
    setup = set_up(config, console)
    name = "run" if config.data is None else config.data.resolve().stem
    folder = RunFolder(config.output) if config.output else RunFolder.numbered(Path(), f"lr-{name}-{config.model}")
    folder.create()
    progress = RunProgress.at_start(setup)
    Normalising(setup.config, setup.model, progress, console).begin_epoch()
    setup.model.train()
    batches = step_batches(setup, config.sweep_batches)
    with console.bar("sweeping the learning rate", config.probes) as bar:
        result = sweep(
            setup.model,
            batches,
            setup.criterion.objective,
            lambda model: build_optimizer(setup.config, model),
            low=config.low,
            high=config.high,
            steps=config.probes,
            ignore_label=255 if setup.task.name == "segment" else None,
            update=_Update(setup, console),
            progress=bar.set,
        )
    figure, table = folder.root / "lr.png", folder.root / "lr.csv"
    draw_lr_sweep(
        figure, result.rates, result.losses, result.suggestion, bounds=result.usable, smoothed=result.smoothed
    )
    _write(table, result)
    return LrFound(result=result, figure=figure, table=table)


class _Update:
    """A step of training: its passes, its criterion, its care for memory."""

    def __init__(self, setup: Setup, console: Console) -> None:
        self._setup = setup
        self._passes = Passes(
            setup.config.pixel_limit,
            together=has_batch_statistics(setup.model),
            may_checkpoint=setup.config.checkpointing == "auto",
            report=console.warn,
            name_of=lambda index: str(setup.train.path(index)),
        )

    def __call__(self, optimizer: torch.optim.Optimizer, probe: Sequence[list[RawBatch]]) -> float:
        """Update with the steps' worth of images that a probe is; returns the loss before, infinite where it blew."""
        try:
            done = train_step(
                self._setup.model,
                optimizer,
                [raw for step in probe for raw in step],
                self._setup.normalisation,
                self._setup.criterion,
                device=self._setup.device,
                channels_last=self._setup.config.channels_last,
                passes=self._passes,
                name_of=self._passes.name_of,
            )
        except NonFiniteLossError:
            return math.inf
        return done.loss


def step_batches(setup: Setup, count: int) -> list[tuple[list[RawBatch], list[Any]]]:
    """The first steps of the first epoch, as training sees them: the micro-batches of each, as bytes, and targets."""
    planner = EpochPlanner(setup.train.sizes, setup.config, seed=setup.config.seed, start=setup.config.start)
    plan = planner.plan(0)
    steps = [list(step) for step in setup.train_loader.steps(plan[:count], epoch=0)]
    return [(raws, [targets_of([raw], torch.device("cpu")) for raw in raws]) for raws in steps]


def _write(path: Path, result: SweepResult) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rate", "loss", "smoothed"])
    smoothed = [*result.smoothed, *[""] * (len(result.rates) - len(result.smoothed))]
    writer.writerows(zip(result.rates, result.losses, smoothed, strict=True))
    write_text(path, text.getvalue())
