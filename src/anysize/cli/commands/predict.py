"""``anysize predict``."""

import dataclasses
from typing import Any

from anysize.cli.output import write_json, write_lines
from anysize.inference.config import PredictConfig

SUMMARY = "answers for images of any size: their classes, or a mask for each"
DESCRIPTION = """
Answer for images with the weights of a run. Similar sizes are batched together; the answer for an image does not depend
on the others. Of a classifier one line an image: path, class, probability (tab-separated). Of a segmenter one line an
image: path, then each class in it and its share of the pixels; with --output FOLDER also a mask for each image at the
image's own size (masks/NAME.png: palette PNG, the value of a pixel is the index of its class) and index.csv. Of a
folder of images with label masks the masks are left out, which is said.
"""
EXAMPLES = """
  anysize predict runs/a new/cat.jpg new/dog.png
  anysize predict runs/a new/ --top 3 --json
  anysize predict runs/a/weights/best.safetensors new/ --output answers.csv
  anysize predict runs/roads new/ --output masks/ --overlay     # a segmenter
"""
OPTIONS = PredictConfig


def run(options: PredictConfig, *, as_json: bool) -> int:
    """Write the answers."""
    from anysize.inference.predict import Prediction, predict

    predictions = predict(options)
    if as_json:
        content = {
            "predictions": [
                _classified(answer) if isinstance(answer, Prediction) else _segmented(answer)
                for answer in predictions.answers
            ],
            "left_out": [dataclasses.asdict(problem) for problem in predictions.left_out],
        }
        write_json(content)
        return 0
    write_lines(*(_line(answer) for answer in predictions.answers))
    return 0


def _line(answer: Any) -> str:
    """Path, then each class with its probability, or with its share: of a million pixels, one is seen."""
    if not hasattr(answer, "shares"):
        return "\t".join([answer.path, *(f"{name}\t{probability:.4f}" for name, probability in answer.top)])
    unsure = [("(no class)", answer.ignored_share)] if answer.ignored_share else []
    return "\t".join([answer.path, *(f"{name}\t{share:.6f}" for name, share in (*answer.top, *unsure))])


def _classified(answer: Any) -> dict[str, Any]:
    return {
        "path": answer.path,
        "height": answer.height,
        "width": answer.width,
        "top": [{"class": name, "probability": p} for name, p in answer.top],
    }


def _segmented(answer: Any) -> dict[str, Any]:
    return {
        "path": answer.path,
        "height": answer.height,
        "width": answer.width,
        "shares": answer.shares,
        "ignored_share": answer.ignored_share,
        "mask": None if answer.mask is None else str(answer.mask),
        "overlay": None if answer.overlay is None else str(answer.overlay),
    }
