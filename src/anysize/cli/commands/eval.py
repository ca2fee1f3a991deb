"""``anysize eval``."""

import dataclasses
import math

from anysize.cli.output import write_json, write_lines
from anysize.inference.config import EvalConfig

SUMMARY = "loss and accuracy of a run: in all, per class, and by image size"
DESCRIPTION = """
Evaluate the weights of a run on labelled images. Writes figures and the answer for every image into RUN/eval.
"""
EXAMPLES = """
  anysize eval runs/a photos/
  anysize eval runs/a                      # the validation images of the run's own data
  anysize eval runs/a other-photos/ --split all --json
"""
OPTIONS = EvalConfig


def run(options: EvalConfig, *, as_json: bool) -> int:
    """Write the results."""
    from anysize.inference.evaluate import evaluate

    evaluation = evaluate(options)
    if as_json:
        by_size = [{**dataclasses.asdict(bucket), "accuracy": bucket.accuracy} for bucket in evaluation.by_size]
        left_out = [str(problem) for problem in evaluation.left_out]
        content = {**vars(evaluation), "by_size": by_size, "left_out": left_out, "output": str(evaluation.output)}
        write_json(content)
        return 0
    width = max(len("class"), *(len(row["class"]) for row in evaluation.per_class))
    write_lines(
        f"{evaluation.num_images} images: {evaluation.images}",
        f"loss {evaluation.loss:.4f}   accuracy {evaluation.accuracy:.2%}",
        "",
        f"{'class':<{width}}  {'images':>7}  {'accuracy':>9}  {'precision':>9}",
        *(
            f"{row['class']:<{width}}  {row['num_images']:>7}  {_share(row['accuracy'])}  {_share(row['precision'])}"
            for row in evaluation.per_class
        ),
        "",
        f"{'area in pixels':>21}  {'images':>7}  {'accuracy':>9}  {'loss':>9}",
        *(
            f"{bucket.smallest_area:>9,} - {bucket.largest_area:>9,}  {bucket.num_images:>7}  "
            f"{bucket.accuracy:>9.2%}  {bucket.loss:>9.4f}"
            for bucket in evaluation.by_size
        ),
        "",
        f"figures and predictions.csv: {evaluation.output}",
    )
    return 0


def _share(share: float) -> str:
    """A share of the images, or a dash where there was nothing to count."""
    return f"{'-':>9}" if math.isnan(share) else f"{share:>9.2%}"
