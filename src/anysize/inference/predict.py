"""Classes of images of any size, or of their pixels."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anysize.atomic import write_text
from anysize.console import Console
from anysize.data import FileProblem
from anysize.errors import UsageError
from anysize.inference.config import PredictConfig
from anysize.inference.predict_maps import SegmentationPredictions, predict_maps
from anysize.inference.prediction_data import find_images
from anysize.inference.trained import Reading, TrainedNetwork

__all__ = ["Prediction", "Predictions", "predict"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A classifier's answer for one image."""

    path: str
    height: int
    width: int
    top: tuple[tuple[str, float], ...]
    """Class and probability, the most probable first."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers, in the order in which the images were named, and what was left out."""

    answers: tuple[Prediction, ...]
    left_out: tuple[FileProblem, ...]


def predict(config: PredictConfig, *, console: Console | None = None) -> Predictions | SegmentationPredictions:
    """Classify images and folders of images, or their pixels; what `anysize predict` does.

    Returns:
        The `Predictions` of a classifier, or the `SegmentationPredictions` of a segmenter.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    console = console or Console()
    run = config.require_run()
    if not config.images:
        raise UsageError("no image was given", hint=f"anysize predict {run} IMAGE_OR_FOLDER ...")
    network = TrainedNetwork.load(run, config.weights, config)
    if network.task == "segment":
        return predict_maps(config, network, console)
    _require_options(config, network)
    table, left_out = find_images(config, network, console)
    with console.bar("predicting", len(table)) as bar:
        reading = Reading(
            options=config,
            workers=config.workers,
            max_image_pixels=config.max_image_pixels,
            console=console,
            progress=bar.advance,
        )
        results = network.classify(network.dataset(table, reading), reading)
    classes = network.card.classes
    answers = []
    for index, row in enumerate(results.probabilities):
        best = np.argsort(-row, kind="stable")[: config.top]
        height, width = table.sizes[index].tolist()
        top = tuple((classes[k], float(row[k])) for k in best)
        answers.append(Prediction(table.paths[index], height, width, top))
    if config.output is not None:
        _write(config.output, answers)
    return Predictions(tuple(answers), left_out)


def _require_options(config: PredictConfig, network: TrainedNetwork) -> None:
    """Refuse what only a segmenter can do."""
    for flag, given in (("--overlay", config.overlay), ("--ignore-below", config.ignore_below is not None)):
        if given:
            raise UsageError(
                f"{flag} is an option of segmenters, and {network.card.model} in {network.path} is a classifier",
                hint=f"leave out {flag}; --top 3 gives each image's most probable classes",
            )
    if config.output is not None and config.output.is_dir():
        raise UsageError(
            f"--output {config.output} is a folder; a classifier writes one CSV file",
            hint=f"--output {config.output / 'predictions.csv'}",
        )


def _write(path: Path, answers: list[Prediction]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "height", "width", "rank", "class", "probability"])
    for answer in answers:
        for rank, (name, probability) in enumerate(answer.top, 1):
            writer.writerow([answer.path, answer.height, answer.width, rank, name, f"{probability:.6f}"])
    write_text(path, text.getvalue())
