"""Where training starts: weights of another run or another library, and the normalisation that they expect."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from anysize.console import Console
from anysize.errors import CheckpointError, UsageError
from anysize.loading import Normalisation
from anysize.models import ModelCard, load_weights, read_card
from anysize.models.weights.published import PUBLISHED, Published
from anysize.training.config import TrainConfig

__all__ = ["load_pretrained", "normalisation_for", "with_normalisation"]


def load_pretrained(config: TrainConfig, model: nn.Module, console: Console) -> None:
    """Load the weights of ``config.pretrained`` into ``model``, and say what was loaded and what stays new.

    A run that is resumed has its own weights; nothing is loaded then.

    Raises:
        UsageError: they are of a kind that is not known.
        CheckpointError: they cannot be had, or do not fit.
    """
    if config.pretrained is None or config.resume is not None:
        return
    try:
        report = load_weights(model, config.pretrained, head=config.pretrained_head, stem="adapt")
    except CheckpointError as error:
        # As flags of this command, rather than arguments of Python.
        hint = error.hint and error.hint.replace('head="new"', "--pretrained-head new")
        raise CheckpointError(error.message, hint=hint) from error
    for line in report.lines():
        console.say(f"pretrained: {line}")


def with_normalisation(config: TrainConfig, channels: int, console: Console) -> TrainConfig:
    """Return ``config`` with the mean and std that go with the pretrained weights, if their card says them.

    They stay in the run's own options, so that a resumed run needs the weights no more.

    Raises:
        UsageError: mean and std are not one number a channel.
    """
    given = (config.mean, config.std)
    if config.pretrained is not None and config.resume is None and given == (None, None):
        known = _trained_with(config.pretrained)
        if known is not None and len(known.mean) == channels:
            console.say("normalisation: as the pretrained weights were trained with")
            return replace(config, mean=known.mean, std=known.std)
        console.say(
            "normalisation: measured on the training images; where it is known with what the pretrained weights were "
            "trained, say so with --mean and --std"
        )
    for name, values in zip(("mean", "std"), given, strict=True):
        if values is not None and len(values) != channels:
            raise UsageError(
                f"--{name} has {len(values)} numbers; the images have {channels} channel(s)",
                hint=f"give {channels}, in 0..255" + (", or --in-channels 3" if len(values) == 3 else ""),
            )
    return config


def normalisation_for(config: TrainConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Normalisation:
    """Return the normalisation: what the options say, else what was measured."""
    return Normalisation(
        mean if config.mean is None else config.mean,
        std if config.std is None else config.std,
    )


def _trained_with(source: str) -> ModelCard | Published | None:
    """What is known of weights: published ones by name, those of a run by the card beside them."""
    if source in PUBLISHED:
        return PUBLISHED[source]
    path = Path(source).with_suffix(".json")
    return read_card(path) if source.endswith(".safetensors") and path.is_file() else None
