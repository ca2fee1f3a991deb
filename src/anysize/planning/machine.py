"""What a network takes on this machine: measured once, remembered."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from anysize.data import ImageTable
from anysize.errors import AnysizeError, ImageSizeError, UsageError
from anysize.inference.device import choose_device
from anysize.memory import LargestImage, MemoryUse, available_bytes, choose_limit, is_checkpointed
from anysize.models import create_model
from anysize.pairs import parse_pairs
from anysize.planning.config import PlanConfig
from anysize.timing import StepCost, measure_speed

__all__ = ["Machine", "measure_machine"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Of one network, in training."""

    device: str
    cost: StepCost
    memory: MemoryUse | None
    """None where it could not be measured; ``notes`` say why."""
    available_bytes: int | None
    max_pixels: int
    """The limit: as given, or as 'auto' found it."""
    notes: tuple[str, ...] = ()


def measure_machine(config: PlanConfig, table: ImageTable, num_classes: int, largest: LargestImage) -> Machine:
    """Build the network of the options and measure its training steps.

    Args:
        config: names the network, the device and the limit of pixels.
        table: the images; whether all of them are grey decides the channels.
        num_classes: of the data.
        largest: the image with the largest canvas.

    Raises:
        AnysizeError: no such network, option or device; with 'auto', the largest image does not fit.
    """
    device = choose_device(config.device)
    channels = _channels(config, table)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    with torch.random.fork_rng(devices=[]):
        model = _network(config, max(num_classes, 2), channels)
    model = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters())  # as train's default; another one costs about as much
    cost = measure_speed(model, in_channels=channels, channels_last=config.channels_last, optimizer=optimizer)
    notes = []
    if not cost.is_steady:
        notes.append(
            "the machine was busy with something else while it was measured: the predicted times are rough, and it is "
            "measured anew next time"
        )
    automatic = config.max_pixels == "auto"
    memory = available = None
    max_pixels = 0 if config.max_pixels == "auto" else config.max_pixels
    try:
        limit = choose_limit(
            model,
            largest,
            in_channels=channels,
            training=True,
            optimizer=optimizer,
            channels_last=config.channels_last,
            may_checkpoint=automatic,
            # As training: each worker has two micro-batches waiting, as bytes; one is worked on and one laid out.
            loading_bytes=channels * (2 * config.workers + 2),
        )
    except ImageSizeError as error:
        if automatic:
            raise
        notes.append(error.message)
        available = available_bytes(device)
    else:
        memory, available = limit.use, limit.available
        max_pixels = limit.max_pixels if automatic else max_pixels
        if is_checkpointed(model):
            notes.append("activation checkpointing would be on: a third more time than predicted")
    return Machine(
        device=str(device),
        cost=cost,
        memory=memory,
        available_bytes=available,
        max_pixels=max_pixels,
        notes=tuple(notes),
    )


def _channels(config: PlanConfig, table: ImageTable) -> int:
    if config.in_channels == "auto":
        return 1 if bool(np.all(table.channels == 1)) else 3
    return int(config.in_channels)


def _network(config: PlanConfig, num_classes: int, channels: int) -> nn.Module:
    options = parse_pairs("model-kwargs", config.model_kwargs)
    try:
        return create_model(config.model, num_classes=num_classes, in_channels=channels, **options)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        if isinstance(error, AnysizeError):
            raise
        raise UsageError(
            f"{config.model} cannot be built with --model-kwargs {' '.join(config.model_kwargs)}: {error}",
            hint="the options of a network are in its docstring: numbers are at least 1",
        ) from error
