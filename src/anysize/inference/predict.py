"""Classes for images of any size."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anysize.atomic import write_text
from anysize.console import Console
from anysize.data import DataOptions, DataSource, FileProblem, ImageTable, check_source, list_images
from anysize.errors import DataError, UsageError
from anysize.inference.config import PredictConfig
from anysize.inference.requirements import leave_out_small
from anysize.inference.trained import TrainedClassifier

__all__ = ["Prediction", "Predictions", "predict"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image."""

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


def predict(config: PredictConfig, *, console: Console | None = None) -> Predictions:
    """Classify images and folders of images; what `anysize predict` does.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    console = console or Console()
    run = config.require_run()
    if not config.images:
        raise UsageError("no image was given", hint=f"anysize predict {run} IMAGE_OR_FOLDER ...")
    classifier = TrainedClassifier.load(run, config.weights, config)
    table, left_out = _read(config, classifier, console)
    with console.bar("predicting", len(table)) as bar:
        results = classifier.classify(
            table,
            config,
            workers=config.workers,
            max_image_pixels=config.max_image_pixels,
            progress=bar.advance,
            console=console,
        )
    classes = classifier.card.classes
    answers = []
    for index, row in enumerate(results.probabilities):
        best = np.argsort(-row, kind="stable")[: config.top]
        height, width = table.sizes[index].tolist()
        top = tuple((classes[k], float(row[k])) for k in best)
        answers.append(Prediction(table.paths[index], height, width, top))
    if config.output is not None:
        _write(config.output, answers)
    return Predictions(tuple(answers), tuple(left_out))


def _read(
    config: PredictConfig, classifier: TrainedClassifier, console: Console
) -> tuple[ImageTable, list[FileProblem]]:
    """Find the images and check that each decodes, so that one error can name all that do not."""
    options = DataOptions(skip_unreadable=config.skip_unreadable, max_image_pixels=config.max_image_pixels)
    with console.bar("reading sizes", 0) as bar:
        found = list_images(config.images, options, progress=bar.set, raise_unreadable=False)
    source = DataSource(
        root=Path(),
        layout="files",
        classes=(),
        train=found.table,
        val=None,
        problems=found.problems,
        ignored=found.ignored,
        notes=found.notes,
    )
    with console.bar("checking that every image decodes", 0) as bar:
        source = check_source(source, classifier.channels, options, progress=bar.set).source
    for note in source.notes:
        console.say(f"note: {note}")
    table, small = leave_out_small(source.train, config.min_side, classifier.card.max_side)
    left_out = [*source.ignored, *source.problems, *small]
    for problem in left_out:
        console.warn(f"left out: {problem}")
    if not len(table):
        raise DataError("no image is left to predict", hint="leave out --min-side and --skip-unreadable to see why")
    return table, left_out


def _write(path: Path, answers: list[Prediction]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "height", "width", "rank", "class", "probability"])
    for answer in answers:
        for rank, (name, probability) in enumerate(answer.top, 1):
            writer.writerow([answer.path, answer.height, answer.width, rank, name, f"{probability:.6f}"])
    write_text(path, text.getvalue())
