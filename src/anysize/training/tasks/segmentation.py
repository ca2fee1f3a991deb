"""Classes of pixels."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from anysize.inference.parts import Parts
from anysize.inference.requirements import Samples, require_maps
from anysize.inference.segment import Segmented, segment
from anysize.training.progress import EpochRow
from anysize.training.setup import Setup
from anysize.training.tasks.task import Column

__all__ = ["TASK", "Segmentation"]


class Segmentation:
    """One answer a pixel; the best epoch has the highest mean IoU over the data set, at the masks' own resolution."""

    name: Literal["classify", "segment"] = "segment"
    metric = "val_mean_iou"
    num_previews = 6  # sheets of large photos take half a MB a row
    animates = True
    columns = (
        Column("train loss", "train_loss", ".4f"),
        Column("train acc", "train_accuracy", ".2%"),
        Column("val loss", "val_loss", ".4f"),
        Column("val acc", "val_accuracy", ".2%"),
        Column("val mIoU", "val_mean_iou", ".2%"),
    )

    def require_network(self, model: nn.Module, name: str, parts: Sequence[Samples], channels: int) -> None:
        """A map of answers, as large as the image."""
        require_maps(parts, model, name, channels)

    def validate(
        self, setup: Setup, previews: Sequence[int], progress: Callable[[int], None], parts: Parts
    ) -> Segmented:
        """Answer all validation images."""
        return segment(
            setup.model,
            setup.val_loader,
            setup.val_plan,
            setup.normalisation,
            setup.val,
            setup.criterion.objective,
            num_classes=len(setup.card.classes),
            device=setup.device,
            channels_last=setup.config.channels_last,
            keep=previews,
            progress=progress,
            parts=parts,
        )

    def row(self, results: Segmented) -> EpochRow:
        """Mean IoU, pixel accuracy and mean accuracy."""
        matrix = results.confusion
        return {
            "val_accuracy": matrix.accuracy,
            "val_mean_iou": matrix.mean_iou,
            "val_mean_accuracy": matrix.mean_accuracy,
            "val_mean_dice": matrix.mean_dice,
        }

    def draw_previews(self, path: Path, setup: Setup, previews: Sequence[int], results: Segmented, epoch: int) -> None:
        """Image, truth, prediction and errors, one row an image."""
        from anysize.reporting.segmentation import OverlayItem, draw_overlay_sheet

        scores = {score.index: score for score in results.scores.per_image()}
        items = [
            OverlayItem(
                image=setup.val.native_image(index),
                truth=setup.val.native_mask(index),
                prediction=results.kept[index],
                name=setup.val.table.paths[index],
                scores=f"mean IoU {scores[index].mean_iou:.1%}, {scores[index].accuracy:.1%} of pixels right",
            )
            for index in previews
        ]
        title = f"epoch {epoch}: fixed validation images"
        draw_overlay_sheet(path, items, palette=setup.card.palette, classes=setup.card.classes, title=title)

    def draw_figures(self, folder: Path, setup: Setup, results: Segmented) -> None:
        """The confusion matrix, the IoU of each class, and how it depends on size."""
        from anysize.reporting.confusion import draw_confusion
        from anysize.reporting.segmentation import draw_iou_bars, draw_iou_by_size

        matrix = results.confusion
        draw_confusion(folder / "confusion.png", matrix.counts, setup.card.classes, unit="pixels")
        draw_iou_bars(
            folder / "iou.png", setup.card.classes, matrix.iou, matrix.counts.sum(axis=1), palette=setup.card.palette
        )
        buckets = results.scores.by_size(setup.val.table.sizes.prod(axis=1))
        draw_iou_by_size(folder / "by_size.png", [dataclasses.asdict(one) for one in buckets], matrix.mean_iou)

    def collapsed(self, results: Segmented, setup: Setup) -> None:
        """The alarms of a run tell of it."""
        del results, setup


TASK = Segmentation()
