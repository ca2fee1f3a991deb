"""Loss, overlap and accuracy of a segmenter against masks: in all, per class, per image and by image size."""

import csv
import io
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anysize.atomic import write_text
from anysize.data import FileProblem
from anysize.data.problems import printable
from anysize.inference.evaluation_data import EvaluationData
from anysize.inference.run_loss import loss_of_run
from anysize.inference.segment import Segmented, classes_at
from anysize.inference.trained import Reading, TrainedNetwork
from anysize.metrics import ConfusionMatrix, ImageScore, SegmentationBucket

__all__ = ["SegmentationEvaluation", "evaluate_maps"]


@dataclass(frozen=True, kw_only=True)
class SegmentationEvaluation:
    """Results of a segmenter on images with masks, at the masks' own size; ignored pixels count nowhere.

    A mean over classes leaves out those that occur neither in the masks nor in the predictions.
    """

    images: str
    """Which images, in words."""
    num_images: int
    loss: float
    """As the network was trained: each term's sum over its count, over all images."""
    loss_name: str
    """Which loss: 'ce', 'ce+dice'."""
    mean_iou: float
    accuracy: float
    """Of all pixels."""
    mean_accuracy: float
    """Over the classes of the masks."""
    frequency_weighted_iou: float
    mean_dice: float
    ignored_share: float
    """Of all pixels of the masks."""
    per_class: tuple[dict[str, Any], ...]
    """For each class: class, num_pixels, iou, accuracy (recall), precision; NaN where there is nothing to count."""
    by_size: tuple[SegmentationBucket, ...]
    output: Path
    """The folder with figures, the sheet of examples and predictions.csv."""
    left_out: tuple[FileProblem, ...]


def evaluate_maps(
    network: TrainedNetwork, data: EvaluationData, reading: Reading, output: Path
) -> SegmentationEvaluation:
    """Compare what ``network`` answers with the masks of ``data``, and write figures and tables into ``output``.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    objective = loss_of_run(data, network.card.classes, reading.console)
    dataset = network.dataset(data.table, reading, data.coding)
    results = network.segment(dataset, objective, reading)
    evaluation = _summed_up(results, data, network.card.classes, objective.spec, output)
    scores = results.scores.per_image()
    _write_table(output / "predictions.csv", data, results, scores)
    _draw(evaluation, results.confusion, network)
    _draw_examples(network, data, scores, replace(reading, progress=None), output)
    return evaluation


def _summed_up(
    results: Segmented, data: EvaluationData, classes: tuple[str, ...], loss_name: str, output: Path
) -> SegmentationEvaluation:
    matrix = results.confusion
    num_pixels = sum(score.num_pixels for score in results.scores.per_image())
    return SegmentationEvaluation(
        images=data.words,
        num_images=len(data.table),
        loss=results.loss,
        loss_name=loss_name,
        mean_iou=matrix.mean_iou,
        accuracy=matrix.accuracy,
        mean_accuracy=matrix.mean_accuracy,
        frequency_weighted_iou=matrix.frequency_weighted_iou,
        mean_dice=matrix.mean_dice,
        ignored_share=1 - matrix.num_targets / num_pixels,
        per_class=_per_class(matrix, classes),
        by_size=tuple(results.scores.by_size()),
        output=output,
        left_out=data.left_out,
    )


def _per_class(matrix: ConfusionMatrix, classes: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    num_pixels = matrix.counts.sum(axis=1)
    return tuple(
        {
            "class": name,
            "num_pixels": int(num_pixels[k]),
            "iou": float(matrix.iou[k]),
            "accuracy": float(matrix.recall[k]),
            "precision": float(matrix.precision[k]),
        }
        for k, name in enumerate(classes)
    )


def _write_table(path: Path, data: EvaluationData, results: Segmented, scores: list[ImageScore]) -> None:
    """Write the scores of every image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "height", "width", "mean_iou", "pixel_accuracy", "loss", "ignored_share"])
    for score in scores:
        height, width = data.table.sizes[score.index].tolist()
        values = (score.mean_iou, score.accuracy, results.losses[score.index], score.ignored_share)
        writer.writerow([data.table.paths[score.index], height, width, *(f"{value:.6f}" for value in values)])
    write_text(path, text.getvalue())


def _draw(evaluation: SegmentationEvaluation, matrix: ConfusionMatrix, network: TrainedNetwork) -> None:
    from anysize.reporting.confusion import draw_confusion
    from anysize.reporting.segmentation import draw_iou_bars, draw_iou_by_size

    folder, classes = evaluation.output, network.card.classes
    draw_confusion(folder / "confusion.png", matrix.counts, classes, unit="pixels")
    draw_iou_bars(folder / "iou.png", classes, matrix.iou, matrix.counts.sum(axis=1), network.palette)
    draw_iou_by_size(folder / "by_size.png", [asdict(bucket) for bucket in evaluation.by_size], matrix.mean_iou)


def _draw_examples(
    network: TrainedNetwork, data: EvaluationData, scores: list[ImageScore], reading: Reading, output: Path
) -> None:
    """Draw the worst images, those in the middle and the best, answered once more: no map was kept."""
    from anysize.reporting.segmentation import OverlayItem, draw_overlay_sheet

    chosen = _examples(scores)
    if not chosen:
        return
    dataset = network.dataset(data.table.select([score.index for _, score in chosen]), reading, data.coding)
    items: dict[int, OverlayItem] = {}
    for place, logits in network.maps(dataset, reading):
        rank, score = chosen[place]
        truth = dataset.native_mask(place)
        items[place] = OverlayItem(
            image=dataset.native_image(place),
            name=printable(dataset.table.paths[place]),
            truth=truth,
            prediction=classes_at(logits, truth.shape),
            scores=f"{rank}: mean IoU {score.mean_iou:.1%}",
        )
    draw_overlay_sheet(
        output / "examples.png",
        [items[place] for place in sorted(items)],
        network.palette,
        network.card.classes,
        title="Worst, middle and best images by mean IoU",
    )


def _examples(scores: list[ImageScore], each: int = 2) -> list[tuple[str, ImageScore]]:
    """The worst images, those around the median and the best, by mean IoU; fewer where there are few images."""
    ranked = sorted((score for score in scores if not np.isnan(score.mean_iou)), key=lambda score: score.mean_iou)
    if len(ranked) <= 3 * each:
        return [(f"{place} of {len(ranked)}", score) for place, score in enumerate(ranked, 1)]
    middle = (len(ranked) - each) // 2
    return [
        *(("worst", score) for score in ranked[:each]),
        *(("middle", score) for score in ranked[middle : middle + each]),
        *(("best", score) for score in ranked[-each:]),
    ]
