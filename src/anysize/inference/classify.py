"""Run a classifier over a data set of images of any size: each image's answer is what it would be alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from anysize.batching import Plan, plan_epoch
from anysize.data import ImageDataset
from anysize.inference.parts import Parts
from anysize.loading import Normalisation, PlanLoader, RawBatch
from anysize.memory import without_pieces
from anysize.metrics import ConfusionMatrix

__all__ = ["Classified", "classify", "evaluation_plan"]


@dataclass(frozen=True, slots=True)
class Classified:
    """Results in the order of the data set's table."""

    probabilities: NDArray[np.float32]
    """(N, K): the softmax."""
    losses: NDArray[np.float64]
    """(N,): cross-entropy of each image; NaN where there is no label."""
    labels: NDArray[np.int64]
    """(N,): -1 where there is no label."""

    @property
    def predictions(self) -> NDArray[np.int64]:
        """(N,): the most probable class."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def loss(self) -> float:
        """The mean over all images: one sum, one count."""
        return float(self.losses.sum() / len(self.losses))

    @property
    def confusion(self) -> ConfusionMatrix:
        """Counts of truth against prediction."""
        matrix = ConfusionMatrix(self.probabilities.shape[1])
        matrix.update(self.labels, self.predictions)
        return matrix


def evaluation_plan(dataset: ImageDataset, batch_size: int, max_pixels: int) -> Plan:
    """Plan a pass for least padding, the largest canvas first, so that memory fails at once or never."""
    return plan_epoch(dataset.sizes(0), batch_size, max_pixels=max_pixels, shuffle=False)


def classify(
    model: nn.Module,
    loader: PlanLoader,
    plan: Plan,
    normalisation: Normalisation,
    *,
    num_classes: int,
    device: torch.device,
    channels_last: bool = True,
    progress: Callable[[int], None] | None = None,
    parts: Parts | None = None,
) -> Classified:
    """Run ``model`` in evaluation mode over every image of ``plan``.

    Args:
        model: takes a ragged batch (N, C, H, W), returns logits (N, K).
        loader: reads the images.
        plan: which images go together; the answers do not depend on it.
        normalisation: as in training.
        num_classes: K.
        device: where the model is.
        channels_last: memory format of the images.
        progress: called with the number of images done.
        parts: what to do when memory runs out; by default images are answered in smaller parts, without a word.

    Raises:
        ImageSizeError: an image does not fit into memory by itself.
    """
    num_images = plan.num_images
    results = Classified(
        probabilities=np.zeros((num_images, num_classes), dtype=np.float32),
        losses=np.full(num_images, np.nan),
        labels=np.full(num_images, -1, dtype=np.int64),
    )
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():

            def answer(raw: RawBatch) -> torch.Tensor:
                logits: torch.Tensor = model(normalisation(raw, device, channels_last=channels_last))
                return logits.float()

            batches = _micro_batches(loader, plan)
            for raw, logits in (parts or Parts()).answers(answer, batches, device):
                where = list(raw.indices)
                results.probabilities[where] = logits.softmax(dim=1).cpu().numpy()
                if raw.targets is not None:
                    targets = raw.targets.to(device)
                    results.losses[where] = functional.cross_entropy(logits, targets, reduction="none").cpu().numpy()
                    results.labels[where] = raw.targets.numpy()
                if progress is not None:
                    progress(len(where))
    finally:
        model.train(was_training)
    return results


def _micro_batches(loader: PlanLoader, plan: Plan) -> Iterator[RawBatch]:
    for step in without_pieces(loader.steps(plan)):
        yield from step
