"""``anysize predict``."""

import dataclasses

from anysize.cli.output import write_json, write_lines
from anysize.inference.config import PredictConfig

SUMMARY = "classify images and folders of images of any size"
DESCRIPTION = """
Classify images with the weights of a run. Similar sizes are batched together; the answer for an image does not depend
on the others. One line an image: path, class, probability (tab-separated).
"""
EXAMPLES = """
  anysize predict runs/a new/cat.jpg new/dog.png
  anysize predict runs/a new/ --top 3 --json
  anysize predict runs/a/weights/best.safetensors new/ --output answers.csv
"""
OPTIONS = PredictConfig


def run(options: PredictConfig, *, as_json: bool) -> int:
    """Write the answers."""
    from anysize.inference.predict import predict

    predictions = predict(options)
    if as_json:
        content = {
            "predictions": [
                {
                    "path": answer.path,
                    "height": answer.height,
                    "width": answer.width,
                    "top": [{"class": name, "probability": p} for name, p in answer.top],
                }
                for answer in predictions.answers
            ],
            "left_out": [dataclasses.asdict(problem) for problem in predictions.left_out],
        }
        write_json(content)
        return 0
    write_lines(
        *(
            "\t".join([answer.path, *(f"{name}\t{probability:.4f}" for name, probability in answer.top)])
            for answer in predictions.answers
        )
    )
    return 0
