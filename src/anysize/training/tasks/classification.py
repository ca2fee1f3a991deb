"""Classes of whole images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from anysize.inference.classify import Classified, classify
from anysize.inference.parts import Parts
from anysize.inference.requirements import Samples, require_answers
from anysize.reporting.preview import PreviewItem, draw_preview
from anysize.training.progress import EpochRow
from anysize.training.setup import Setup
from anysize.training.tasks.task import Column

__all__ = ["TASK", "Classification"]

_COLLAPSED = 1e-3  # spread of the probabilities over the validation images, as a share of chance (1 / classes)


class Classification:
    """One answer an image; the best epoch has the highest accuracy."""

    name: Literal["classify", "segment"] = "classify"
    metric = "val_accuracy"
    num_previews = 12
    animates = False
    columns = (
        Column("train loss", "train_loss", ".4f"),
        Column("train acc", "train_accuracy", ".2%"),
        Column("val loss", "val_loss", ".4f"),
        Column("val acc", "val_accuracy", ".2%"),
    )

    def require_network(self, model: nn.Module, name: str, parts: Sequence[Samples], channels: int) -> None:
        """One answer for each image, whatever its size."""
        require_answers(parts, model, name, channels)

    def validate(
        self, setup: Setup, previews: Sequence[int], progress: Callable[[int], None], parts: Parts
    ) -> Classified:
        """Answer all validation images; their probabilities are all that previews need."""
        del previews
        return classify(
            setup.model,
            setup.val_loader,
            setup.val_plan,
            setup.normalisation,
            num_classes=len(setup.card.classes),
            device=setup.device,
            channels_last=setup.config.channels_last,
            progress=progress,
            parts=parts,
        )

    def row(self, results: Classified) -> EpochRow:
        """Accuracy."""
        return {"val_accuracy": results.confusion.accuracy}

    def draw_previews(self, path: Path, setup: Setup, previews: Sequence[int], results: Classified, epoch: int) -> None:
        """Images with truth and prediction."""
        classes = setup.card.classes
        items = []
        for index in previews:
            prediction = int(results.predictions[index])
            items.append(
                PreviewItem(
                    image=setup.val.load(index),
                    name=setup.val.table.paths[index],
                    truth=classes[int(results.labels[index])],
                    prediction=classes[prediction],
                    confidence=float(results.probabilities[index, prediction]),
                )
            )
        draw_preview(path, items, title=f"epoch {epoch}: fixed validation images")

    def draw_figures(self, folder: Path, setup: Setup, results: Classified) -> None:
        """The confusion matrix."""
        from anysize.reporting.confusion import draw_confusion

        draw_confusion(folder / "confusion.png", results.confusion.counts, setup.card.classes)

    def collapsed(self, results: Classified, setup: Setup) -> str | None:
        """A network that answers the same for every image does not learn any more."""
        spread = float(results.probabilities.std(axis=0).max())
        if len(results.probabilities) > 1 and spread * len(setup.card.classes) < _COLLAPSED:
            return (
                f"every validation image gets the same answer (the probabilities vary by {spread:.1e}): lower --lr, "
                "and for fcn_small use --model-kwargs final_relu=false (a dead final ReLU gets no gradient)"
            )
        return None


TASK = Classification()
