"""`train`: from options to a run folder with trained weights."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anysize.batching import Plan, PlanStream
from anysize.config_file import read_config, write_config
from anysize.console import Console
from anysize.errors import AnysizeError, UsageError
from anysize.inference.parts import Parts
from anysize.loading import EpochPlanner
from anysize.memory import enable_checkpointing, is_checkpointed, without_pieces
from anysize.models import has_batch_statistics, save_model
from anysize.stepping.optimizers import set_lr
from anysize.stepping.passes import Passes
from anysize.stepping.schedules import scheduled_lr
from anysize.stepping.step import train_step
from anysize.training.checkpoint import load_checkpoint, save_checkpoint
from anysize.training.config import TrainConfig
from anysize.training.interrupt import StopRequest
from anysize.training.normalising import Normalising
from anysize.training.preflight import preflight
from anysize.training.progress import EpochRow, RunProgress
from anysize.training.recorder import Recorder
from anysize.training.resuming import require_same_norm, take_changes
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup, set_up
from anysize.training.source import images_of, write_left_out, write_split
from anysize.training.watch import Watch

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run came to."""

    run: Path
    """The run folder."""
    ended: str
    """'finished', 'stopped early' or 'interrupted'."""
    epochs: int
    """Epochs that were finished."""
    best_epoch: int | None
    """Counted from 1; None where no epoch was finished."""
    best: EpochRow = field(default_factory=dict)
    """The row of the best epoch."""


def train(config: TrainConfig, *, console: Console | None = None) -> TrainResult:
    """Train a classifier or a segmenter as ``config`` says; what `anysize train` does.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    console = console or Console()
    folder, config = _choose_folder(config)
    if config.resume is not None:
        require_same_norm(config, config.resume)
        with folder.held(console):
            setup = set_up(config, console)
            return _go(setup, folder, _resumed(config, setup, folder, console), console)
    setup = set_up(config, console)
    preflight(setup, console)
    folder.create()
    with folder.held(console):
        return _go(setup, folder, RunProgress.at_start(setup), console)


def _resumed(config: TrainConfig, setup: Setup, folder: RunFolder, console: Console) -> RunProgress:
    """How far the run in ``folder`` had come; its weights are in ``setup`` then."""
    saved = load_checkpoint(folder.checkpoint, setup.model, setup.optimizer)
    progress = RunProgress.from_json(saved.progress)
    if progress.data_digest != setup.data_digest:
        raise UsageError(
            f"{folder.root} was trained on other images, another split, other classes or another size limit than "
            f"{config.data} gives now: a validation image may have been trained on",
            hint="restore the images and options (seed, --val-split, --max-side, --min-side), or start a new run",
        )
    progress.plateau.patience, progress.plateau.factor = config.plateau_patience, config.plateau_factor
    take_changes(config, read_config(TrainConfig, folder.config), progress, setup, console)
    if progress.epoch >= config.epochs:
        console.say(f"{folder.root} has finished its {config.epochs} epochs; a larger --epochs goes on with it")
    else:
        console.say(f"going on with {folder.root} at epoch {progress.epoch + 1}, step {progress.step + 1}")
    if progress.checkpointing and config.checkpointing == "auto" and enable_checkpointing(setup.model):
        console.say("activation checkpointing is on, as it was")
    return progress


def _go(setup: Setup, folder: RunFolder, progress: RunProgress, console: Console) -> TrainResult:
    # Which folder it is says where the file lies; as an option it would have --config begin in the same one.
    write_config(folder.config, dataclasses.replace(setup.config, resume=None, output=None))
    write_left_out(folder.left_out, setup.left_out)
    write_split(folder.split, [("train", images_of(setup.train).table), ("val", setup.val.table)])
    return _Run(setup, folder, progress, Recorder(folder, setup, console), console).go()


def _choose_folder(config: TrainConfig) -> tuple[RunFolder, TrainConfig]:
    """Choose the run folder, and resolve what depends on it; nothing is written yet."""
    if config.resume is not None:
        folder = RunFolder(config.resume)
        if config.data is None:  # from Python; the command line has read the run's options already
            given = {name: getattr(config, name) for name in config.given}
            config = dataclasses.replace(read_config(TrainConfig, folder.config), **given)
    elif config.output is not None:
        folder = RunFolder(config.output)
        folder.require_free()
    else:
        stem = "run" if config.data is None else config.data.resolve().stem
        folder = RunFolder.numbered(Path("runs"), f"{stem}-{config.model}")
    # Absolute, so that the run's data are found from any working folder.
    data = None if config.data is None else config.data.resolve()
    return folder, config.changed(output=folder.root, data=data, **config.absolute_paths())


class _Run:
    """A run between its start (or resumption) and its end."""

    def __init__(
        self, setup: Setup, folder: RunFolder, progress: RunProgress, recorder: Recorder, console: Console
    ) -> None:
        self.setup, self.folder, self.progress = setup, folder, progress
        self.recorder, self.console = recorder, console
        self.config = setup.config
        self.planner = EpochPlanner(setup.train.sizes, setup.config, seed=setup.config.seed, start=setup.config.start)
        asked, held = progress.pass_pixels or (0, 0)
        self.passes = Passes(
            # A run that was short of memory goes on as it was; with another --max-pixels it starts afresh.
            held if asked == self.config.pixel_limit else self.config.pixel_limit,
            # Batch statistics are those of all images that go through the network together, so the whole step should.
            # Any other network gets the same gradients from one canvas after the other, in less memory.
            together=has_batch_statistics(setup.model.train()),
            may_checkpoint=self.config.checkpointing == "auto",
            report=self._report_shortage,
            name_of=lambda index: str(setup.train.path(index)),
        )
        # Of whole images the collapse is seen more finely, in the probabilities themselves.
        self.watch = Watch(setup, progress) if setup.task.name == "segment" else None
        self.normalising = Normalising(setup.config, setup.model, progress, console)
        self.parts = Parts(name_of=lambda index: str(setup.val.path(index)), report=self._report_shortage)
        self.best_results: Any = None
        """Of the best epoch, where it ran in this process."""

    def go(self) -> TrainResult:
        """Train until the last epoch, an early stop or an interruption; everything is saved in each case."""
        self.recorder.event("start", epoch=self.progress.epoch, step=self.progress.step)
        self.recorder.table_head()
        try:
            with StopRequest() as stop:
                while (ended := self._ended(stop)) is None:
                    self._train_epoch(stop)
                    if not stop.requested:
                        self._finish_epoch()
                    self._save()
            return self._close(ended)
        except AnysizeError as error:
            self.recorder.event("error", message=error.message)
            raise
        finally:
            self.recorder.close()

    def _ended(self, stop: StopRequest) -> str | None:
        if stop.requested:
            return "interrupted"
        if self.progress.epoch >= self.config.epochs:
            return "finished"
        if self.config.patience and self._epochs_since_best() >= self.config.patience:
            return "stopped early"
        return None

    def _epochs_since_best(self) -> int:
        """Epochs without a better result; before images come at full size none is waited for."""
        start = self.config.start
        return min(self.progress.epochs_since_best, self.progress.epoch - (0 if start is None else start.epochs))

    def _check_plan(self, plan: Plan | PlanStream) -> None:
        """In the middle of an epoch only the plan that the epoch began with gives every image exactly once."""
        progress, digest = self.progress, plan.digest()
        if progress.step and progress.plan_digest != digest:
            raise UsageError(
                f"{self.folder.root} was stopped within epoch {progress.epoch + 1}, after {progress.step} steps, and "
                f"the images or the options that plan an epoch have changed since: images would be lost or come twice",
                hint="resume with the options and images it was started with (batch size, limits, augmentation, seed)",
            )
        progress.plan_digest = digest

    def _train_epoch(self, stop: StopRequest) -> None:
        """Run the steps of the epoch that are not done yet."""
        progress, setup, config = self.progress, self.setup, self.config
        plan = self.planner.plan(progress.epoch)
        self._check_plan(plan)
        self.normalising.begin_epoch()
        setup.model.train()
        steps = setup.train_loader.steps(plan, epoch=progress.epoch, first_step=progress.step)
        with self.console.bar(f"epoch {progress.epoch + 1}/{config.epochs}", len(plan)) as bar:
            bar.advance(progress.step)
            for batches in without_pieces(steps):
                epochs_done = progress.epoch + progress.step / len(plan)
                set_lr(setup.optimizer, self._lr(epochs_done))
                progress.sums.add(
                    train_step(
                        setup.model,
                        setup.optimizer,
                        batches,
                        setup.normalisation,
                        setup.criterion,
                        device=setup.device,
                        channels_last=config.channels_last,
                        passes=self.passes,
                        name_of=self.passes.name_of,
                    )
                )
                progress.pass_pixels = (config.pixel_limit, self.passes.max_pixels)
                progress.checkpointing = is_checkpointed(setup.model)
                progress.step += 1
                bar.advance(1, _status(progress))
                if stop.requested:
                    self.console.say("interrupted: saving")
                    return

    def _lr(self, epochs_done: float) -> float:
        config = self.config
        if config.start is not None:
            epochs_done = config.start.paid(epochs_done, config.epochs, self.planner.pixel_ratio)
        return scheduled_lr(
            config.sched,
            peak=config.peak_lr,
            epochs=config.epochs,
            epochs_done=epochs_done,
            warmup_epochs=config.warmup_epochs,
            plateau_scale=self.progress.plateau.scale,
        )

    def _report_shortage(self, line: str) -> None:
        self.console.warn(line)
        self.recorder.event("out of memory", message=line)

    def _finish_epoch(self) -> None:
        """Validate, record the epoch, and keep its weights if they are the best."""
        started = time.perf_counter()
        self.normalising.end_epoch()
        self.normalising.before_evaluation(images_of(self.setup.train), self.setup.normalisation, self.setup.device)
        results = self._validate()
        row = self._row(results, val_seconds=time.perf_counter() - started)
        if self.config.sched == "plateau" and self.progress.plateau.update(row["val_loss"]):
            lr = self.config.peak_lr * self.progress.plateau.scale
            self.console.say(f"plateau: the learning rate is cut to {lr:.2e}")
        is_best = self.progress.take(row)
        if is_best:
            self.best_results = results
            self._save_weights(self.folder.best_weights, row)
        self.recorder.epoch(self.progress, results)
        self._alarm(row, results)

    def _validate(self) -> Any:
        with self.console.bar("validating", len(self.setup.val)) as bar:
            return self.setup.task.validate(self.setup, self.recorder.previews, bar.advance, self.parts)

    def _row(self, results: Any, *, val_seconds: float) -> EpochRow:
        sums = self.progress.sums
        return {
            "epoch": self.progress.epoch + 1,
            "train_loss": sums.loss,
            "train_accuracy": sums.accuracy,
            "val_loss": results.loss,
            **self.setup.task.row(results),
            "lr": self.setup.optimizer.param_groups[-1]["lr"],  # of the head, where the backbone has another
            "seconds": sums.seconds,
            "val_seconds": val_seconds,
            "images_per_s": sums.num_images / sums.seconds,
            "mpx_per_s": sums.mpx_per_s,
            "padding_share": sums.padding_share,
            "wait_share": sums.wait_share,
        }

    def _alarm(self, row: EpochRow, results: Any) -> None:
        """Say what goes wrong, once each: a collapse, a class never predicted, a plateau from the start."""
        if self.setup.optimizer.param_groups[-1]["lr"] < 0.1 * self.config.peak_lr and len(self.progress.rows) == 1:
            return  # it has hardly begun: the rate is still rising
        said = self.setup.task.collapsed(results, self.setup)
        if said is not None:
            self.console.warn(said)
            self.recorder.event("collapsed", message=said)
        for finding in self.watch.after_epoch(row, results) if self.watch is not None else ():
            self.console.warn(f"{finding.check}: {finding.found}; expected: {finding.expected}\nhint: {finding.fix}")
            self.recorder.event("alarm", **finding.to_json())

    def _save_weights(self, path: Path, row: EpochRow) -> None:
        save_model(path, self.setup.model, dataclasses.replace(self.setup.card, results=row))

    def _save(self) -> None:
        rows = self.progress.rows
        self._save_weights(self.folder.last_weights, rows[-1] if rows else {})
        save_checkpoint(self.folder.checkpoint, self.setup.model, self.setup.optimizer, self.progress.to_json())

    def _close(self, ended: str) -> TrainResult:
        """Draw the figures and say how it ended."""
        self.recorder.figures(self.progress, self.best_results)
        self.recorder.event("end", ended=ended, epochs=len(self.progress.rows))
        return TrainResult(
            run=self.folder.root,
            ended=ended,
            epochs=len(self.progress.rows),
            best_epoch=self.progress.best_epoch,
            best=self.progress.best_row or {},
        )


def _status(progress: RunProgress) -> str:
    sums = progress.sums
    return (
        f"loss {sums.loss:.3f}  acc {sums.accuracy:.1%}  "
        f"{sums.mpx_per_s:.1f} Mpx/s  padding {sums.padding_share:.1%}  wait {sums.wait_share:.1%}"
    )
