"""What a resumed run may change of its options, and what that means in the middle of it."""

from pathlib import Path

from anysize.config_file import read_config
from anysize.console import Console
from anysize.errors import UsageError
from anysize.stepping.policy import trained_layers
from anysize.training.config import TrainConfig
from anysize.training.progress import RunProgress
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup

__all__ = ["require_same_norm", "take_changes"]


def take_changes(
    config: TrainConfig, begun: TrainConfig, progress: RunProgress, setup: Setup, console: Console
) -> None:
    """Options of a resumed run that mean something else in the middle of it."""
    _require_same_past(config, begun, progress)
    start = config.start
    finds_them = start is not None and progress.epoch < start.epochs and config.pretrained is None
    if config.batch_norm == "frozen" != begun.batch_norm and not finds_them:  # else they are frozen at full size
        progress.trained_layers = list(trained_layers(setup.model))  # all that the run has trained so far
        progress.stage = ""  # a stage begins: what is frozen is remembered anew
    if config.epochs != begun.epochs and config.sched in ("cosine", "poly"):
        console.say(
            f"note: the {config.sched} schedule runs over {config.epochs} epochs now rather than {begun.epochs}; the "
            "rate goes back up to where it is at this point of the longer run"
        )


def _require_same_past(config: TrainConfig, begun: TrainConfig, progress: RunProgress) -> None:
    """Epochs that are done had the sizes that they had.

    Raises:
        UsageError: another start would have given them others.
    """
    done = range(progress.epoch + (progress.step > 0))
    sides = [
        [config.max_side if start is None else start.max_side(epoch, config.max_side) for epoch in done]
        for start in (begun.start, config.start)
    ]
    if sides[0] != sides[1]:
        raise UsageError(
            f"with --start-side {config.start_side} and --start-epochs {config.start_epochs} epochs that are done "
            f"would have had images of other sizes (the run began with {begun.start_side} and {begun.start_epochs})",
            hint="a new run with --pretrained and the weights of this one, or leave the two as they were",
        )


def require_same_norm(config: TrainConfig, run: Path) -> None:
    """GroupNorm makes another network, which no checkpoint of the first fits."""
    own = RunFolder(run).config
    begun = read_config(TrainConfig, own).batch_norm if own.is_file() else config.batch_norm
    if "group" in (config.batch_norm, begun) and config.batch_norm != begun:
        raise UsageError(
            f"--batch-norm is {config.batch_norm}; {run} began with {begun}, and GroupNorm makes another network of it",
            hint=f"--batch-norm {begun}, or a new run with --pretrained {run}/weights/best.safetensors",
        )
