"""What the network that was named asks of its images."""

import torch
from torch import nn

from anysize.doctor.data.survey import ModelNeeds
from anysize.errors import AnysizeError
from anysize.models.named import named_model
from anysize.models.probe import smallest_image
from anysize.models.summary.field import receptive_field
from anysize.pairs import parse_pairs

__all__ = ["needs_of"]


def needs_of(name: str, model_kwargs: tuple[str, ...], num_classes: int) -> ModelNeeds:
    """Build the network on the meta device (no weights, nothing downloaded) and ask it.

    Raises:
        UsageError: there is no such network, or it cannot be built with these options.
    """
    options = parse_pairs("model-kwargs", model_kwargs)

    def build() -> nn.Module:
        return named_model(name, num_classes=max(num_classes, 2), in_channels=3, **options).eval()

    try:
        with torch.device("meta"):
            model = build()
    except (RuntimeError, NotImplementedError):  # it computes with numbers as it is built
        model = build().to("meta")
    smallest = smallest_image(model, 3)
    field = None
    try:
        side = 512 if smallest is None else max(smallest.side, 1)
        field = receptive_field(model, 3, (side, side)).size
    except (AnysizeError, RuntimeError, ValueError):  # a network that cannot be followed has no note, and no error
        field = None
    return ModelNeeds(name=name, smallest_side=None if smallest is None else smallest.side, field=field)
