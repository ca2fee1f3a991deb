"""Run a segmenter over a data set of images of any size: each image's map is what it would be alone."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anysize.batching import Plan
from anysize.data import ImageDataset
from anysize.data.masks import IGNORED
from anysize.errors import TrainingError
from anysize.inference.parts import Parts
from anysize.loading import Normalisation, PlanLoader, RawBatch
from anysize.losses import Objective
from anysize.memory import without_pieces
from anysize.metrics import ConfusionMatrix, SegmentationScores

__all__ = ["Segmented", "classes_at", "segment", "segment_each"]

_AT_ONCE = 8  # classes


@dataclass
class Segmented:
    """Results over a data set; maps are kept of the images that were asked for only."""

    scores: SegmentationScores
    """At the original resolution of each mask."""
    losses: NDArray[np.float64]
    """(N,): of each image by itself; NaN where nothing of it counts."""
    loss: float = float("nan")
    """Of all images: each term's sum over its count, weighted."""
    kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Predictions (H, W) at the original size, by the place of the image in its table."""

    @property
    def confusion(self) -> ConfusionMatrix:
        """Counts of truth against prediction over all pixels that are not ignored."""
        return self.scores.confusion


def segment(
    model: nn.Module,
    loader: PlanLoader,
    plan: Plan,
    normalisation: Normalisation,
    dataset: ImageDataset,
    objective: Objective,
    *,
    num_classes: int,
    device: torch.device,
    channels_last: bool = True,
    keep: Collection[int] = (),
    progress: Callable[[int], None] | None = None,
    parts: Parts | None = None,
) -> Segmented:
    """Run ``model`` in evaluation mode over every image of ``plan`` and compare with the masks.

    The logits of an image that was shrunk are interpolated to the original size of its mask before classes are chosen,
    so that no metric depends on the size that an image was read at.

    Args:
        model: takes a ragged batch (N, C, H, W), returns maps of logits (N, K, H, W).
        loader: reads ``dataset``.
        plan: which images go together; the answers do not depend on it.
        normalisation: as in training.
        dataset: with masks.
        objective: the loss to report.
        num_classes: K.
        device: where the model is.
        channels_last: memory format of the images.
        keep: places of the images whose predictions are wanted.
        progress: called with the number of images done.
        parts: what to do when memory runs out; by default images are answered in smaller parts, without a word.

    Raises:
        ImageSizeError: an image does not fit into memory by itself.
        TrainingError: an image has no mask.
    """
    num_images = plan.num_images
    results = Segmented(SegmentationScores(num_classes), np.full(num_images, np.nan))
    totals = np.zeros((len(objective.terms), 2))  # sum and count of each term
    for raw, maps in segment_each(
        model, loader, plan, normalisation, device=device, channels_last=channels_last, parts=parts
    ):
        if raw.targets is None:
            raise TrainingError("evaluation compares with masks, and this data set has none")
        for place, (index, logits) in enumerate(zip(raw.indices, maps, strict=True)):
            height, width = raw.sizes[place]
            labels = raw.targets[place, :height, :width].to(device=device, dtype=torch.int64)
            sums = objective.sums(logits[None], labels[None])
            own = [(float(term.total), float(term.count)) for term in sums]
            totals += np.array(own)
            if all(count for _, count in own):
                results.losses[index] = objective.value(sums, [count for _, count in own])
            truth = dataset.native_mask(index)
            prediction = classes_at(logits, truth.shape)
            results.scores.update(index, truth, prediction)
            if index in keep:
                results.kept[index] = prediction
        if progress is not None:
            progress(len(raw.indices))
    if totals[:, 1].any():
        scales = objective.scales(totals[:, 1].tolist())
        results.loss = float(totals[:, 0] @ np.array(scales))
    return results


def segment_each(
    model: nn.Module,
    loader: PlanLoader,
    plan: Plan,
    normalisation: Normalisation,
    *,
    device: torch.device,
    channels_last: bool = True,
    parts: Parts | None = None,
) -> Iterator[tuple[RawBatch, list[Tensor]]]:
    """Give each batch of ``plan`` with the logits (K, H, W) of its images, in evaluation mode.

    Arguments as of `segment`. The model's mode is restored at the end.
    """

    def answer(raw: RawBatch) -> Any:
        return model(normalisation(raw, device, channels_last=channels_last))

    was_training = model.training
    model.eval()
    try:
        batches = (raw for step in without_pieces(loader.steps(plan)) for raw in step)
        answers = (parts or Parts()).answers(answer, batches, device)
        while True:
            # The mode is entered for each batch anew: it must not reach into the code that takes the answers.
            with torch.inference_mode():
                found = next(answers, None)
                if found is None:
                    return
                raw, logits = found
                maps = [one.float() for one in logits.unbind()]
            yield raw, maps
    finally:
        model.train(was_training)


def classes_at(logits: Tensor, size: tuple[int, ...], *, least_probability: float = 0.0) -> NDArray[np.uint8]:
    """Return the most probable class of each pixel, uint8 (H, W), at ``size``.

    Args:
        logits: (K, h, w), interpolated (bilinear, as Chen et al. 2018 do) where their size is another.
        size: (H, W).
        least_probability: pixels whose most probable class is less probable than this become `IGNORED`.
    """
    with torch.inference_mode():
        best = torch.full(tuple(size), -torch.inf, device=logits.device)
        classes = torch.zeros(tuple(size), dtype=torch.uint8, device=logits.device)
        total = best.clone()  # logarithm of the sum of exponentials
        # Some classes at a time: of a large image, all of them at its own size would be gigabytes.
        for first in range(0, len(logits), _AT_ONCE):
            part = _resized(logits[first : first + _AT_ONCE], size)
            value, place = part.max(dim=0)
            better = value > best
            classes[better] = (place[better] + first).to(torch.uint8)
            best = torch.where(better, value, best)
            if least_probability > 0:
                total = torch.logaddexp(total, part.logsumexp(dim=0))
        if least_probability > 0:
            classes[(best - total).exp() < least_probability] = IGNORED
        return np.asarray(classes.cpu().numpy())


def _resized(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(logits.shape[1:]) == tuple(size):
        return logits
    # Half-pixel centres: an image is shrunk that way.
    return functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
