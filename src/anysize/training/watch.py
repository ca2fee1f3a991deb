"""Watches a run, an epoch at a time, for what goes wrong without an error."""

from typing import Any

import numpy as np
import torch
from torch import nn

from anysize.data import ImageDataset
from anysize.doctor.alarms import Alarms
from anysize.doctor.finding import Finding
from anysize.doctor.untouched import untouched
from anysize.loading import RawBatch
from anysize.memory import attempt
from anysize.stepping.batch_norm import batch_norms, frozen_layers
from anysize.stepping.criterion import targets_of
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
        only_entropy = [term.loss.name for term in setup.criterion.objective.terms] == ["ce"]
        plain = not setup.config.class_weights and not setup.config.label_smoothing
        self._alarms = Alarms(setup.card.classes, loss_is_cross_entropy=only_entropy and plain)
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
        raw = self._images()
        found, _ = attempt(lambda: (_loss(self._setup, raw, train=True), _loss(self._setup, raw, train=False)))
        return (None, None) if found is None else found

    def _images(self) -> RawBatch:
        """The same training images each time, not augmented, on one canvas within the limit of a pass."""
        train = images_of(self._setup.train)
        sizes = train.table.sizes
        near = np.argsort(sizes.prod(axis=1), kind="stable")[len(sizes) // 2 :][:_NUM_IMAGES]  # of middling size
        if len(near) < _NUM_IMAGES:
            near = np.arange(min(len(sizes), _NUM_IMAGES))
        plain = ImageDataset(
            train.table.select(near), train.channels, coding=train.coding, max_side=train.max_side,
            max_image_pixels=train.max_image_pixels,
        )  # fmt: skip
        if plain.has_masks:
            pairs = [plain.load_pair(place) for place in range(len(plain))]
            images, targets = [image for image, _ in pairs], [mask for _, mask in pairs]
        else:
            images = [plain.load(place) for place in range(len(plain))]
            targets = [plain.label(place) for place in range(len(plain))]  # type: ignore[misc]
        canvas = (max(image.shape[0] for image in images), max(image.shape[1] for image in images))
        return RawBatch.from_arrays(images, canvas, targets, near.tolist())


def _loss(setup: Setup, raw: RawBatch, *, train: bool) -> float:
    model: nn.Module = setup.model
    with untouched(model), torch.no_grad():
        model.train(train)
        for module in model.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.eval()  # it makes the two differ too, and is meant to
        output = model(setup.normalisation(raw, setup.device, channels_last=setup.config.channels_last))
        sums, _ = setup.criterion.sums(output, targets_of([raw], setup.device))
        return setup.criterion.objective.value(sums, [term.count for term in sums])
