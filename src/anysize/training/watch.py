"""Watches a run, an epoch at a time, for what goes wrong without an error."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from anysize.doctor.alarms import Alarms
from anysize.doctor.finding import Finding
from anysize.doctor.untouched import untouched
from anysize.loading import RawBatch
from anysize.memory import attempt
from anysize.stepping.batch_norm import batch_norms, frozen_layers
from anysize.stepping.criterion import Criterion, targets_of
from anysize.training.handful import load_sample, plain_images
from anysize.training.progress import EpochRow, RunProgress
from anysize.training.setup import Setup
from anysize.training.source import images_of

__all__ = ["Watch"]

_NUM_IMAGES = 4


class Watch:
    """Feeds the alarms of `anysize.doctor.alarms` with a run's figures.

    Args:
        setup: of the run.
        progress: keeps what the alarms remember.
    """

    def __init__(self, setup: Setup, progress: RunProgress) -> None:
        self._setup, self._progress = setup, progress
        self._alarms = Alarms(
            setup.card.classes,
            loss_is_cross_entropy=_is_entropy(setup),
            starts_trained=setup.config.pretrained is not None,
        )
        if progress.alarms:
            self._alarms.load_state(progress.alarms)

    def after_epoch(self, row: EpochRow, results: Any) -> list[Finding]:
        """Return the alarms that begin with this epoch, most severe first."""
        counts = results.confusion.counts
        same_train, same_eval = self._both_modes()
        findings = self._alarms.update(
            train_loss=row["train_loss"],
            val_loss=row["val_loss"],
            truth=counts.sum(axis=1).tolist(),
            predicted=counts.sum(axis=0).tolist(),
            num_right=int(counts.trace()),
            same_train=same_train,
            same_eval=same_eval,
            lr=row["lr"],
        )
        self._progress.alarms = self._alarms.state()
        return findings

    def _both_modes(self) -> tuple[float | None, float | None]:
        """Losses of the same few training images with the statistics of the batch, and with the running ones.

        None where the two cannot differ, or where memory does not suffice for those images at once.
        """
        model = self._setup.model
        if not (set(dict(batch_norms(model))) - set(frozen_layers(model))):
            return None, None
        raw = self._images
        found, _ = attempt(lambda: (_loss(self._setup, raw, train=True), _loss(self._setup, raw, train=False)))
        return (None, None) if found is None else found

    @cached_property
    def _images(self) -> RawBatch:
        """The same training images each time, not augmented, on one canvas: as many as the limit of a pass lets in.

        One is the least, as in training.
        """
        sizes = images_of(self._setup.train).table.sizes
        near = np.argsort(sizes.prod(axis=1), kind="stable")[len(sizes) // 2 :][:_NUM_IMAGES]  # of middling size
        if len(near) < _NUM_IMAGES:
            near = np.arange(min(len(sizes), _NUM_IMAGES))
        plain = plain_images(self._setup, near.tolist())
        count = len(near)
        while count > 1 and _canvas_pixels(plain.sizes()[:count]) > self._setup.config.pixel_limit:
            count -= 1
        images, targets = zip(*(load_sample(plain, place) for place in range(count)), strict=True)
        canvas = (max(image.shape[0] for image in images), max(image.shape[1] for image in images))
        return RawBatch.from_arrays(list(images), canvas, list(targets), near[:count].tolist())


def _is_entropy(setup: Setup) -> bool:
    """Whether the training loss is the cross-entropy of labels as frequent as those of validation, and nothing more."""
    config, criterion = setup.config, setup.criterion
    is_plain = [(term.loss.name, term.weight) for term in criterion.objective.terms] == [("ce", 1.0)]
    has_aux = criterion.aux_weight > 0 and any("aux" in name for name, _ in setup.model.named_modules())
    is_sampled = criterion.hardest_share < 1 or (config.see == "patches" and config.patches == "class")
    return is_plain and not (has_aux or is_sampled or config.class_weights or config.label_smoothing)


def _canvas_pixels(sizes: Any) -> int:
    height, width = sizes.max(axis=0).tolist()
    return int(len(sizes) * height * width)


def _loss(setup: Setup, raw: RawBatch, *, train: bool) -> float:
    """Of the main output alone: an auxiliary one comes in training mode only."""
    model: nn.Module = setup.model
    criterion = Criterion(setup.criterion.objective, aux_weight=0.0)
    with untouched(model), torch.no_grad():
        model.train(train)
        for module in model.modules():
            if isinstance(module, _DropoutNd):
                module.eval()  # it makes the two differ too, and is meant to
        output = model(setup.normalisation(raw, setup.device, channels_last=setup.config.channels_last))
        sums, _ = criterion.sums(output, targets_of([raw], setup.device))
        return criterion.objective.value(sums, [term.count for term in sums])
