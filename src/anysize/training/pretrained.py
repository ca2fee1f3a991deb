"""Where training starts: weights of another run or another library, and the normalisation that they expect."""

import re
from dataclasses import replace
from pathlib import Path

from torch import nn

from anysize.config_file import read_config
from anysize.console import Console
from anysize.data.problems import listed
from anysize.errors import CheckpointError, UsageError
from anysize.loading import Normalisation
from anysize.models import ModelCard, find_card, load_weights
from anysize.models.group_norm import with_group_norm
from anysize.models.weights.published import PUBLISHED, Published
from anysize.training.config import TrainConfig
from anysize.training.run_folder import RunFolder

__all__ = ["load_pretrained", "normalisation_for", "trained_with", "with_normalisation"]


def load_pretrained(config: TrainConfig, model: nn.Module, classes: tuple[str, ...], console: Console) -> TrainConfig:
    """Load the weights of ``config.pretrained`` into ``model``, and say what was loaded and what stays new.

    A run that is resumed has its own weights; nothing is loaded then. Weights of a network with group normalisation
    make ``model`` one, too.

    Returns:
        ``config``, with the normalisation that the weights have.

    Raises:
        UsageError: they are of a kind that is not known, not those that a resumed run began with, or of a network with
            another normalisation than ``config.batch_norm`` asks for; or a frozen stage without any weights.
        CheckpointError: they cannot be had, do not fit, or know other classes than ``classes``.
    """
    if config.resume is not None:
        _require_same_start(config, config.resume)
        return config
    source = config.pretrained
    if source is None:
        _require_no_stage(config)
        return config
    config = _with_norm_of_weights(config, model, source)
    if config.pretrained_head == "load":
        _require_classes(source, classes)
    try:
        report = load_weights(model, source, head=config.pretrained_head, stem="adapt")
    except CheckpointError as error:
        raise CheckpointError(error.message, hint=_as_flags(error.hint)) from error
    for line in report.lines():
        (console.warn if line.startswith("warning: ") else console.say)(f"pretrained: {line.removeprefix('warning: ')}")
    return config


def _require_no_stage(config: TrainConfig) -> None:
    if config.head_epochs:
        raise UsageError(
            f"--head-epochs {config.head_epochs} holds the pretrained part still, and nothing is pretrained: a random "
            "one would stand still",
            hint="--pretrained WEIGHTS, or --head-epochs 0" + (" --recipe small-data" * (config.recipe == "finetune")),
        )


def _with_norm_of_weights(config: TrainConfig, model: nn.Module, source: str) -> TrainConfig:
    known = trained_with(source)
    if not isinstance(known, ModelCard) or known.norm != "group":
        return config
    if config.batch_norm not in ("auto", "group"):
        raise UsageError(
            f"--batch-norm is {config.batch_norm}, and {source} is of a network with group normalisation, which has no "
            "statistics of the batch",
            hint="--batch-norm group, or auto",
        )
    with_group_norm(model)
    return replace(config, batch_norm="group")


def _require_same_start(config: TrainConfig, run: Path) -> None:
    own = RunFolder(run).config
    if not own.is_file():  # no run, as the checkpoint that is missing will tell
        return
    begun = read_config(TrainConfig, own)
    for name in ("pretrained", "pretrained_head"):
        before, now = getattr(begun, name), getattr(config, name)
        if before != now:
            raise UsageError(
                f"--{name.replace('_', '-')} is {now}; {run} began with {before}, and goes on with weights of its own",
                hint="start a new run",
            )


def _require_classes(source: str, classes: tuple[str, ...]) -> None:
    known = trained_with(source)
    if not isinstance(known, ModelCard) or known.classes == classes:
        return
    raise CheckpointError(
        f"{source} knows the classes {listed(known.classes)}; the images have {listed(classes)}",
        hint="--pretrained-head new",
    )


def _as_flags(hint: str | None) -> str | None:
    """Say with flags of the command what `load_weights` says with arguments of Python."""
    if hint is None:
        return None
    if "stem=" in hint:
        return "images are read with 1 or 3 channels (--in-channels); weights for others cannot start this run"
    if options := re.search(r"create_model\('\w+', \.\.\., (.*)\)", hint):
        return f"--model-kwargs {options[1].replace(',', '').replace('True', 'true')}"
    return hint.replace('head="new"', "--pretrained-head new")


def with_normalisation(config: TrainConfig, channels: int, console: Console) -> TrainConfig:
    """Return ``config`` with the mean and std that go with the pretrained weights, where they are known.

    They stay in the run's own options, so that a resumed run needs the weights no more.

    Raises:
        UsageError: mean and std are not one number a channel.
    """
    given = (config.mean, config.std)
    if config.pretrained is not None and config.resume is None and given == (None, None):
        known = trained_with(config.pretrained)
        if known is not None and len(known.mean) == channels:
            console.say("normalisation: as the pretrained weights were trained with")
            return replace(config, mean=known.mean, std=known.std)
        if known is not None:
            console.say(
                f"normalisation: measured on the training images; that of the pretrained weights is of "
                f"{len(known.mean)} channel(s), the images have {channels}"
            )
        else:
            console.say(
                "normalisation: measured on the training images; where it is known with what the pretrained weights "
                "were trained, say so with --mean and --std"
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


def trained_with(source: str) -> ModelCard | Published | None:
    """What is known of weights: published ones by name, those of a run by the card beside them."""
    if source in PUBLISHED:
        return PUBLISHED[source]
    return find_card(Path(source).expanduser()) if source.endswith(".safetensors") and "://" not in source else None
