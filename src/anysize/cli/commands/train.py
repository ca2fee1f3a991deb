"""``anysize train``."""

from anysize.cli.output import write_json, write_lines
from anysize.training.config import TrainConfig

SUMMARY = "train a classifier or a segmenter on images of any size"
DESCRIPTION = """
Train a classifier on a folder of images (one folder a class, with train/ and val/ or without) or a CSV file, or a
segmenter on images with masks (VOC, Cityscapes, ADE20K, images/ and masks/, or a CSV file), each image at its native
size. Writes a run folder: weights, checkpoint, metrics.csv, previews, figures, TensorBoard.
"""
EXAMPLES = """
  anysize train photos/ --output runs/a
  anysize train photos/ --model fcn_small --epochs 10 --opt sgd --lr 0.05
  anysize train digits/ --hflip 0 --in-channels 1
  anysize train photos/ --max-side 1024 --max-pixels 4000000
  anysize train photos/ --config runs/a/config.yaml --lr 0.001 --output runs/b
  anysize train --resume runs/a --epochs 60
  anysize train VOC2012/ --model deeplabv3plus --model-kwargs encoder=mobilenet_v2
  anysize train camvid/ --model deeplabv3plus --ignore-label 11 --recipe voc --loss ce+dice
"""
OPTIONS = TrainConfig


def run(options: TrainConfig, *, as_json: bool) -> int:
    """Train, and say where the results are."""
    from anysize.training.run import train  # torch is imported with it

    result = train(options)
    if as_json:
        write_json({**vars(result), "run": str(result.run)})
    else:
        write_lines(
            f"{result.ended} after {result.epochs} epoch{'' if result.epochs == 1 else 's'}; run folder: {result.run}",
            *([f"go on with: anysize train --resume {result.run}"] if result.ended == "interrupted" else []),
            *_best_lines(result.best_epoch, result.best),
        )
    return 130 if result.ended == "interrupted" else 0


def _best_lines(best_epoch: int | None, best: dict[str, float]) -> list[str]:
    if best_epoch is None:
        return ["no epoch was finished, so there are no best weights"]
    return [
        f"best epoch {best_epoch}: validation {_score(best)}, loss {best['val_loss']:.4f}",
    ]


def _score(best: dict[str, float]) -> str:
    if "val_mean_iou" in best:
        return f"mean IoU {best['val_mean_iou']:.2%}, pixel accuracy {best['val_accuracy']:.2%}"
    return f"accuracy {best['val_accuracy']:.2%}"
