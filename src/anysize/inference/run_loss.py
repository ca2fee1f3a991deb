"""The loss that a run was trained with, to be measured again."""

from collections.abc import Sequence
from typing import Any

from anysize.console import Console
from anysize.inference.evaluation_data import EvaluationData
from anysize.losses import Objective, class_weights_from_counts, create_objective, parse_class_weights

__all__ = ["loss_of_run"]


def loss_of_run(data: EvaluationData, classes: Sequence[str], console: Console) -> Objective:
    """The loss of the run's options; cross-entropy for weights without a run.

    Class weights that came from the training pixels are worked out again from the run's own data; on other data the
    loss is without them, which is said.

    Args:
        data: with the options of the run.
        classes: of the network.
        console: for that note.
    """
    options = data.trained_with
    given = tuple(options.get("class_weights") or ())
    weights = _weights(given, data, classes)
    if given and weights is None:
        console.say(
            f"note: the run's class weights ({' '.join(map(str, given))}) come from the pixels that it was trained on, "
            "and these are other data: the loss is without them"
        )
    return create_objective(
        options.get("loss", "ce"),
        num_classes=len(classes),
        class_weights=weights,
        label_smoothing=options.get("label_smoothing", 0.0),
        options=tuple(options.get("loss_kwargs") or ()),
    )


def _weights(given: tuple[Any, ...], data: EvaluationData, classes: Sequence[str]) -> tuple[float, ...] | None:
    asked = parse_class_weights([str(word) for word in given])
    if not isinstance(asked, str):
        return asked
    census = data.source.train_census
    if not data.own or census is None:
        return None
    counts = dict(zip(data.source.classes, census.class_pixels.tolist(), strict=True))
    return class_weights_from_counts([counts.get(name, 0) for name in classes], asked)
