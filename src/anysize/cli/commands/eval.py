"""``anysize eval``."""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anysize.cli.output import write_json, write_lines
from anysize.inference.config import EvalConfig

if TYPE_CHECKING:
    from anysize.inference.evaluate import Evaluation
    from anysize.inference.evaluate_maps import SegmentationEvaluation

SUMMARY = "how good a run is: in all, per class, and by image size"
DESCRIPTION = """
Evaluate the weights of a run on labelled images: loss and accuracy of a classifier; loss, IoU, accuracy and Dice of a
segmenter, at the size of the masks. Masks are read as in training, whatever the data, but for flags that are given.
Writes figures and the answer for every image into RUN/eval.
"""
EXAMPLES = """
  anysize eval runs/a photos/
  anysize eval runs/a                      # the validation images of the run's own data
  anysize eval runs/a other-photos/ --split all --json
  anysize eval runs/roads other-roads/ --ignore-label 11     # a segmenter, on images with masks
"""
OPTIONS = EvalConfig


def run(options: EvalConfig, *, as_json: bool) -> int:
    """Write the results."""
    from anysize.inference.evaluate import Evaluation, evaluate

    evaluation = evaluate(options)
    if as_json:
        write_json(_content(evaluation))
    elif isinstance(evaluation, Evaluation):
        write_lines(*_classifier_lines(evaluation))
    else:
        write_lines(*_segmenter_lines(evaluation))
    return 0


def _content(evaluation: "Evaluation | SegmentationEvaluation") -> dict[str, Any]:
    by_size = [{**dataclasses.asdict(bucket), "accuracy": bucket.accuracy} for bucket in evaluation.by_size]
    left_out = [str(problem) for problem in evaluation.left_out]
    return {**vars(evaluation), "by_size": by_size, "left_out": left_out, "output": str(evaluation.output)}


def _classifier_lines(evaluation: "Evaluation") -> Iterator[str]:
    width = max(len("class"), *(len(row["class"]) for row in evaluation.per_class))
    yield f"{_images(evaluation.num_images)}: {evaluation.images}"
    yield f"loss {evaluation.loss:.4f}   accuracy {evaluation.accuracy:.2%}"
    yield ""
    yield f"{'class':<{width}}  {'images':>7}  {'accuracy':>9}  {'precision':>9}"
    for row in evaluation.per_class:
        shares = f"{_share(row['accuracy'])}  {_share(row['precision'])}"
        yield f"{row['class']:<{width}}  {row['num_images']:>7}  {shares}"
    yield ""
    yield f"{'area in pixels':>21}  {'images':>7}  {'accuracy':>9}  {'loss':>9}"
    for bucket in evaluation.by_size:
        yield (
            f"{bucket.smallest_area:>9,} - {bucket.largest_area:>9,}  {bucket.num_images:>7}  "
            f"{bucket.accuracy:>9.2%}  {bucket.loss:>9.4f}"
        )
    yield ""
    yield f"figures and predictions.csv: {evaluation.output}"


def _segmenter_lines(evaluation: "SegmentationEvaluation") -> Iterator[str]:
    width = max(len("class"), *(len(row["class"]) for row in evaluation.per_class))
    yield f"{_images(evaluation.num_images)}: {evaluation.images}"
    loss = "-" if math.isnan(evaluation.loss) else f"{evaluation.loss:.4f}"
    yield f"loss {loss} ({evaluation.loss_name})   ignored {evaluation.ignored_share:.2%} of the pixels"
    yield (
        f"mean IoU {_percent(evaluation.mean_iou)}   pixel accuracy {_percent(evaluation.accuracy)}   "
        f"mean accuracy {_percent(evaluation.mean_accuracy)}"
    )
    yield (
        f"frequency-weighted IoU {_percent(evaluation.frequency_weighted_iou)}   "
        f"mean Dice {_percent(evaluation.mean_dice)}"
    )
    yield ""
    yield f"{'class':<{width}}  {'pixels':>13}  {'IoU':>9}  {'accuracy':>9}  {'precision':>9}"
    for row in evaluation.per_class:
        shares = "  ".join(_share(row[name]) for name in ("iou", "accuracy", "precision"))
        yield f"{row['class']:<{width}}  {row['num_pixels']:>13,}  {shares}"
    yield ""
    yield f"{'area in pixels':>23}  {'images':>7}  {'mean IoU':>9}  {'95 % interval':>19}  {'accuracy':>9}"
    for bucket in evaluation.by_size:
        interval = "-"
        if not math.isnan(bucket.mean_iou_low):
            interval = f"{bucket.mean_iou_low:.2%} - {bucket.mean_iou_high:.2%}"
        yield (
            f"{bucket.smallest_area:>10,} - {bucket.largest_area:>10,}  {bucket.num_images:>7}  "
            f"{_share(bucket.mean_iou)}  {interval:>19}  {_share(bucket.accuracy)}"
        )
    yield ""
    yield f"figures, examples.png and predictions.csv: {evaluation.output}"


def _share(share: float) -> str:
    """A share of the images or pixels, or a dash where there was nothing to count."""
    return f"{_percent(share):>9}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.2%}"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
