"""Loss and accuracy on labelled images: in all, per class, and by image size."""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anysize.atomic import write_text
from anysize.config_file import read_mapping
from anysize.console import Console
from anysize.data import DataOptions, DataSource, FileProblem, ImageTable, check_source, load_data
from anysize.data.problems import printable
from anysize.errors import DataError, LayoutError, UsageError
from anysize.inference.classify import Classified
from anysize.inference.config import EvalConfig
from anysize.inference.requirements import leave_out_small
from anysize.inference.trained import TrainedClassifier
from anysize.metrics import SizeBucket, accuracy_by_size

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results on a set of labelled images."""

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


def evaluate(config: EvalConfig, *, console: Console | None = None) -> Evaluation:
    """Evaluate trained weights on labelled images; what `anysize eval` does.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    console = console or Console()
    run = config.require_run()
    classifier = TrainedClassifier.load(run, config.weights, config)
    trained_with = _run_config(run)
    data, own = _data(config, trained_with)
    if own:
        config = _as_trained(config, trained_with)
    source, table, words = _choose(config, data, trained_with if own else None, console)
    table = _relabelled(table, source.classes, classifier.card.classes)
    table, small = leave_out_small(table, config.min_side, classifier.card.max_side)
    if not len(table):
        raise DataError(f"--min-side {config.min_side} leaves none of the {words}", hint="lower --min-side")
    table, problems = _checked(config, classifier, source, table, console)
    with console.bar("evaluating", len(table)) as bar:
        results = classifier.classify(
            table,
            config,
            workers=config.workers,
            max_image_pixels=config.max_image_pixels,
            progress=bar.advance,
            console=console,
        )
    buckets = accuracy_by_size(table.sizes.prod(axis=1), results.predictions == results.labels, results.losses)
    output = config.output or (run if run.is_dir() else run.parent) / "eval"
    evaluation = Evaluation(
        images=words,
        num_images=len(table),
        loss=results.loss,
        accuracy=results.confusion.accuracy,
        per_class=_per_class(results, classifier.card.classes),
        by_size=tuple(buckets),
        output=output,
        left_out=(*source.ignored, *problems, *small),
    )
    for problem in evaluation.left_out:
        console.warn(f"left out: {problem}")
    _write(evaluation, results, table, classifier.card.classes)
    return evaluation


def _run_config(run: Path) -> dict[str, Any]:
    """The options that the run was trained with; empty for weights without a run folder."""
    path = run / "config.yaml"
    return read_mapping(path) if path.is_file() else {}


def _data(config: EvalConfig, trained_with: dict[str, Any]) -> tuple[Path, bool]:
    """Which data, and whether they are what the run was trained on."""
    own = trained_with.get("data")
    data = config.data or (None if own is None else Path(own))
    if data is None:
        raise UsageError("no data was given", hint="anysize eval RUN DATA")
    return data, own is not None and data.resolve() == Path(own).resolve()


def _as_trained(config: EvalConfig, trained_with: dict[str, Any]) -> EvalConfig:
    """On the run's own data, what the run left out is left out again, or these are not its held-out images."""
    return replace(
        config,
        min_side=trained_with.get("min_side") if config.min_side is None else config.min_side,
        skip_unreadable=config.skip_unreadable or trained_with.get("skip_unreadable", False),
    )


def _choose(
    config: EvalConfig, data: Path, trained_with: dict[str, Any] | None, console: Console
) -> tuple[DataSource, ImageTable, str]:
    """Read the data and choose the images: (source, table, what they are in words).

    Args:
        config: ``split`` and what may be skipped.
        data: folder or CSV file.
        trained_with: the options of the run, where these are its own data.
        console: for the bar.
    """
    same = trained_with is not None
    split: dict[str, Any] = {}
    if trained_with is not None:
        split = {"val_split": trained_with["val_split"], "split_seed": trained_with["seed"]}
    options = DataOptions(skip_unreadable=config.skip_unreadable, max_image_pixels=config.max_image_pixels, **split)
    with console.bar("reading sizes", 0) as bar:
        source = load_data(data, options, progress=bar.set, raise_unreadable=False)
    if source.train.labels is None:
        raise LayoutError(
            f"{data} holds images without labels ({source.layout}); evaluation compares with labels",
            hint=f"anysize predict RUN {data} gives answers without comparing them",
        )
    if same:
        source = _as_split_in_training(source, config.require_run(), console)
    wanted = config.split
    if wanted == "auto":
        wanted = "val" if source.val is not None and (same or source.has_own_split) else "all"
    if wanted == "val" and source.val is None:
        raise DataError(f"{data} has no validation images", hint="--split all")
    if wanted == "val" and source.val is not None:
        held_out = "its val split" if source.has_own_split else "those that the run held out"
        return source, source.val, f"validation images of {data} ({held_out})"
    if wanted == "train" or source.val is None:
        return source, source.train, f"training images of {data}" if wanted == "train" else f"all images of {data}"
    return source, source.train.joined(source.val), f"all images of {data}"


def _as_split_in_training(source: DataSource, run: Path, console: Console) -> DataSource:
    """Split the images as the run did: drawn anew, the split would change with every file that comes or goes."""
    record = run / "split.csv"
    if source.val is None or not record.is_file():
        return source
    parts = {row["path"]: row["part"] for row in _read_csv(record)}
    for row in _read_csv(run / "left_out.csv"):
        parts.setdefault(row["path"], "val")  # the same limits will leave it out again, and say so
    table = source.train.joined(source.val)
    found = np.array([parts.get(printable(path), "") for path in table.paths])
    num_new = int((found == "").sum())
    if num_new:
        console.warn(f"{num_new} images have come since the run was trained; they are in neither of its parts")
    if not (found == "val").any():
        raise DataError(f"none of the images that {run} held out is in {source.root} any more", hint="--split all")
    return replace(source, train=table.select(found == "train"), val=table.select(found == "val"))


def _read_csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _relabelled(table: ImageTable, found: tuple[str, ...], known: tuple[str, ...]) -> ImageTable:
    """Number the labels as the network does: classes agree by name, not by their place in this data set.

    Raises:
        DataError: a class that the network does not know.
    """
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise DataError(
            f"the data has classes that the network was not trained on: {', '.join(unknown)}; "
            f"it knows {', '.join(known)}",
            hint="rename the class folders, or leave those classes out",
        )
    assert table.labels is not None  # noqa: S101 - _choose refuses images without labels
    order = np.array([known.index(name) for name in found], dtype=np.int64)
    return replace(table, labels=order[table.labels])


def _checked(
    config: EvalConfig, classifier: TrainedClassifier, source: DataSource, table: ImageTable, console: Console
) -> tuple[ImageTable, tuple[FileProblem, ...]]:
    """Decode every image once, so that one error can name all that are broken."""
    options = DataOptions(skip_unreadable=config.skip_unreadable, max_image_pixels=config.max_image_pixels)
    unlabelled = replace(source, train=replace(table, labels=None), val=None, classes=())
    with console.bar("checking that every image decodes", 0) as bar:
        checked = check_source(unlabelled, classifier.channels, options, progress=bar.set).source
    kept = set(checked.train.paths)
    keep = np.array([path in kept for path in table.paths])
    return table.select(keep), checked.problems


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
