"""Loss and accuracy on labelled images: in all, per class, and by image size."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anysize.atomic import write_text
from anysize.console import Console
from anysize.data import FileProblem, ImageTable
from anysize.inference.classify import Classified
from anysize.inference.config import EvalConfig
from anysize.inference.evaluate_maps import SegmentationEvaluation, evaluate_maps
from anysize.inference.evaluation_data import EvaluationData, choose_data
from anysize.inference.trained import Reading, TrainedNetwork
from anysize.metrics import SizeBucket, accuracy_by_size

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results of a classifier on a set of labelled images."""

    images: str
    """Which images, in words."""
    num_images: int
    loss: float
    accuracy: float
    per_class: tuple[dict[str, Any], ...]
    """For each class: name, num_images, accuracy (recall), precision; NaN where there is nothing to count."""
    by_size: tuple[SizeBucket, ...]
    output: Path
    """The folder with figures and predictions.csv."""
    left_out: tuple[FileProblem, ...]


def evaluate(config: EvalConfig, *, console: Console | None = None) -> Evaluation | SegmentationEvaluation:
    """Evaluate trained weights on labelled images; what `anysize eval` does.

    Returns:
        An `Evaluation` of a classifier, a `SegmentationEvaluation` of a segmenter.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    console = console or Console()
    run = config.require_run()
    network = TrainedNetwork.load(run, config.weights, config)
    data = choose_data(config, network, console)
    output = config.output or (run if run.is_dir() else run.parent) / "eval"
    with console.bar("evaluating", len(data.table)) as bar:
        reading = Reading(
            options=config,
            workers=config.workers,
            max_image_pixels=config.max_image_pixels,
            console=console,
            progress=bar.advance,
        )
        if network.task == "segment":
            return evaluate_maps(network, data, reading, output)
        results = network.classify(network.dataset(data.table, reading), reading)
    evaluation = _summed_up(results, data, network.card.classes, output)
    _write(evaluation, results, data.table, network.card.classes)
    return evaluation


def _summed_up(results: Classified, data: EvaluationData, classes: tuple[str, ...], output: Path) -> Evaluation:
    areas = data.table.sizes.prod(axis=1)
    return Evaluation(
        images=data.words,
        num_images=len(data.table),
        loss=results.loss,
        accuracy=results.confusion.accuracy,
        per_class=_per_class(results, classes),
        by_size=tuple(accuracy_by_size(areas, results.predictions == results.labels, results.losses)),
        output=output,
        left_out=data.left_out,
    )


def _per_class(results: Classified, classes: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    confusion = results.confusion
    counts = confusion.counts.sum(axis=1)
    return tuple(
        {
            "class": name,
            "num_images": int(counts[k]),
            "accuracy": float(confusion.recall[k]),
            "precision": float(confusion.precision[k]),
        }
        for k, name in enumerate(classes)
    )


def _write(evaluation: Evaluation, results: Classified, table: ImageTable, classes: tuple[str, ...]) -> None:
    """Write the figures and the answer for every image."""
    from anysize.reporting.by_size import draw_by_size
    from anysize.reporting.confusion import draw_confusion

    folder = evaluation.output
    draw_confusion(folder / "confusion.png", results.confusion.counts, classes)
    rows = [
        {
            "label": "",
            "lower_pixels": bucket.smallest_area,
            "upper_pixels": bucket.largest_area,
            "num_images": bucket.num_images,
            "accuracy": bucket.accuracy,
            "loss": bucket.loss,
        }
        for bucket in evaluation.by_size
    ]
    draw_by_size(folder / "by_size.png", rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "height", "width", "truth", "prediction", "probability", "loss"])
    for index, path in enumerate(table.paths):
        prediction = int(results.predictions[index])
        height, width = table.sizes[index].tolist()
        probability, loss = float(results.probabilities[index, prediction]), float(results.losses[index])
        truth = classes[int(results.labels[index])]
        writer.writerow([path, height, width, truth, classes[prediction], f"{probability:.6f}", f"{loss:.6f}"])
    write_text(folder / "predictions.csv", text.getvalue())
