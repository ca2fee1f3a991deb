"""Batch normalisation and stages over a run: chosen before it, put in place at each epoch, and proved at its end."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from anysize.batching import plan_epoch
from anysize.console import Console
from anysize.data import ImageDataset
from anysize.data.patches import PatchDataset
from anysize.loading import EpochPlanner, Normalisation, PlanLoader
from anysize.memory import without_pieces
from anysize.models.group_norm import with_group_norm
from anysize.ragged import together
from anysize.stepping.batch_norm import (
    BatchNormPolicy,
    apply_policy,
    batch_norms,
    frozen_layers,
    single_value_layers,
)
from anysize.stepping.batch_norm_guard import BatchNormGuard
from anysize.stepping.passes import Passes
from anysize.stepping.policy import FEW_IMAGES, FEW_LATER, choose_policy, trained_layers
from anysize.stepping.recalibration import recalibrate
from anysize.stepping.stages import Stage, freeze_backbone
from anysize.training.config import TrainConfig
from anysize.training.progress import RunProgress

__all__ = ["Normalising", "prepare_batch_norm"]

RECALIBRATION_IMAGES = 256
"""Training images, at most, that running statistics are taken over before an evaluation; a draw that stays the same."""


def prepare_batch_norm(
    config: TrainConfig, model: nn.Module, train: ImageDataset | PatchDataset, channels: int, console: Console
) -> TrainConfig:
    """Decide what batch normalisation does, say why, and put GroupNorm in its place where that was asked for.

    Returns:
        ``config`` with a policy other than 'auto'.
    """
    if not any(True for _ in batch_norms(model)):
        return config if config.batch_norm == "group" else replace(config, batch_norm="train")
    policy: Any = config.batch_norm
    if policy == "auto":
        policy, reason = _chosen(config, model, train, channels)
        console.say(f"batch norm  {policy}: {reason}")
    if policy == "group":
        console.say(f"batch norm  group: GroupNorm in place of {with_group_norm(model)} layers")
    if policy == "frozen" and config.resume is None:
        _say_frozen(config, model, console)
    return replace(config, batch_norm=policy)


def _chosen(
    config: TrainConfig, model: nn.Module, train: ImageDataset | PatchDataset, channels: int
) -> tuple[BatchNormPolicy, str]:
    """The policy that 'auto' is, and why.

    Where images are smaller at first, a step has more of them, and statistics to learn with; at full size fewer will do
    then, and with fewer still those that were found stand still (`FEW_LATER`).
    """

    def choose(epoch: int, batch_size: int, few: float = FEW_IMAGES) -> tuple[BatchNormPolicy, str]:
        return choose_policy(
            model,
            train.sizes(epoch),
            batch_size=batch_size,
            pretrained=config.pretrained is not None,
            in_channels=channels,
            max_pixels=config.max_pixels if config.max_pixels != "auto" else None,
            few=few,
        )

    start = config.start
    if start is None:
        return choose(0, config.batch_size)
    at_first, _ = choose(0, EpochPlanner(train.sizes, config, seed=config.seed, start=start).batch_size(0))
    if at_first in ("frozen", "group"):  # of weights that are there already, or all along
        return choose(start.epochs, config.batch_size)
    policy, reason = choose(start.epochs, config.batch_size, FEW_LATER)
    if policy != "group":
        return policy, reason
    return "frozen", f"from epoch {start.epochs + 1} on, as at full size it would be {reason.partition(', too few')[0]}"


def _say_frozen(config: TrainConfig, model: nn.Module, console: Console) -> None:
    layers, trained = [name for name, _ in batch_norms(model)], trained_layers(model)
    if not trained and config.start is not None:
        console.say(
            f"batch norm  in epochs 1 to {config.start.epochs} of the batch, estimated anew before each evaluation; "
            "then frozen at what they are over images at full size"
        )
    elif not trained:
        console.warn(
            "batch norm  frozen, and no layer has statistics of trained weights: there is nothing to freeze, and all "
            f"{len(layers)} layers go on as with 'train'. --batch-norm group or --pretrained WEIGHTS"
        )
    elif len(trained) < len(layers):
        console.say(
            f"batch norm  frozen in the {len(trained)} layers with pretrained statistics; the "
            f"{len(layers) - len(trained)} new ones have none yet, and take those of the batch"
        )


class Normalising:
    """What is frozen in each epoch of a run.

    Args:
        config: its ``batch_norm`` and ``head_epochs``.
        model: in training.
        progress: keeps, for a resumed run, what frozen statistics were.
        console: for what should be known.
    """

    def __init__(self, config: TrainConfig, model: nn.Module, progress: RunProgress, console: Console) -> None:
        self._config, self._model, self._progress, self._console = config, model, progress, console
        self._head: Stage | None = None
        self._guard: BatchNormGuard | None = None
        self._recalibration: _Recalibration | None = None

    def begin_epoch(self) -> None:
        """Freeze what this epoch does not train.

        Raises:
            TrainingError: statistics that were frozen when the run was saved are not as they were.
        """
        stage = self._stage()
        is_new = stage != self._progress.stage
        if is_new and self._progress.stage == "start":
            # What the evaluation of the last epoch has estimated over images at full size stands still from now on.
            self._progress.trained_layers = list(trained_layers(self._model))
        if stage == "all" and self._head is not None:
            self._head.undo(self._model)
            self._head = None
        if self._config.batch_norm != "group" and (self._guard is None or is_new):
            self._apply_policy()
        if stage == "head" and self._head is None:
            self._head = freeze_backbone(self._model)
            self._console.say(f"stage head: {len(self._head.parameters)} tensors of the pretrained part stand still")
        elif is_new and stage == "all" and self._config.head_epochs:
            self._console.say("stage all: the whole network is trained")
        if is_new:
            self._progress.stage, self._progress.frozen = stage, {}
            self._guard = None
        if self._guard is None and frozen_layers(self._model):
            self._guard = BatchNormGuard(self._model, digests=self._progress.frozen or None)
            self._progress.frozen = self._guard.digests

    def _stage(self) -> Literal["head", "start", "all"]:
        """What this epoch trains; with 'start', statistics that will be frozen are still to be found."""
        config, epoch = self._config, self._progress.epoch
        if epoch < config.head_epochs:
            return "head"
        is_start = config.start is not None and epoch < config.start.epochs
        is_new = config.batch_norm == "frozen" and not self._progress.trained_layers
        return "start" if is_start and is_new else "all"

    def _apply_policy(self) -> None:
        """New layers have no statistics to be frozen at: mean 0 and variance 1 would never normalise."""
        if self._config.batch_norm != "frozen":
            apply_policy(self._model, self._config.batch_norm)
            return
        apply_policy(self._model, "train")
        if self._progress.trained_layers:
            apply_policy(self._model, "frozen", layers=self._progress.trained_layers)

    def end_epoch(self) -> None:
        """Prove that what was frozen did not move; say which layers had too few values to normalise by.

        Raises:
            TrainingError: frozen statistics have moved.
        """
        if self._guard is not None:
            self._guard.check(self._model)
        for name in single_value_layers(self._model):
            self._console.say(
                f"note: {name} met one value a channel, which has no variance: it used its running statistics for that "
                "step and did not move them. --batch-size 2 or more, or --batch-norm frozen, avoids it"
            )

    def undo(self) -> None:
        """Let go of a frozen backbone, as if no epoch had begun."""
        if self._head is not None:
            self._head.undo(self._model)
            self._head = None

    def before_evaluation(self, train: ImageDataset, normalisation: Normalisation, device: torch.device) -> None:
        """Take the running statistics anew, where the policy is 'recalibrate', or they will be frozen."""
        if self._config.batch_norm != "recalibrate" and self._progress.stage != "start":
            return
        if self._recalibration is None:
            self._recalibration = _Recalibration(self._config, train, normalisation, device)
        done = recalibrate(self._model, self._recalibration.batches())
        if done.left:
            self._console.say(f"note: {done}")


class _Recalibration:
    """Training images as evaluation sees images: whole, not augmented, in batches as large as those of training."""

    def __init__(
        self,
        config: TrainConfig,
        train: ImageDataset,
        normalisation: Normalisation,
        device: torch.device,
    ) -> None:
        drawn = np.random.default_rng(config.seed).permutation(len(train.table))[:RECALIBRATION_IMAGES]
        self._dataset = ImageDataset(
            train.table.select(np.sort(drawn)),
            train.channels,
            max_side=config.max_side,
            max_image_pixels=config.max_image_pixels,
        )
        # A run that sees patches has no room for whole images in a step; without gradients one takes much less.
        canvases = -(-self._dataset.sizes(0) // config.multiple_of) * config.multiple_of
        self._max_pixels = max(config.pixel_limit, int(canvases.prod(axis=1).max()))
        self._config, self._normalisation, self._device = config, normalisation, device
        self._loader = PlanLoader(self._dataset, workers=config.workers)

    def batches(self) -> Iterator[Any]:
        """Ragged batches and groups, the same each time."""
        config = self._config
        plan = plan_epoch(
            self._dataset.sizes(0),
            config.batch_size,
            max_pixels=self._max_pixels,
            mixing="mixed",
            seed=config.seed,
            multiple_of=config.multiple_of,
        )
        passes = Passes(self._max_pixels, together=True)
        for step in without_pieces(self._loader.steps(plan)):
            for group in passes.divide(step):
                yield together(
                    [self._normalisation(raw, self._device, channels_last=config.channels_last) for raw in group]
                )
