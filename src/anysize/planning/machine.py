"""What a network takes on this machine: measured once, remembered."""

from dataclasses import dataclass

import torch

from anysize.data import ImageTable
from anysize.errors import ImageSizeError
from anysize.inference.device import choose_device
from anysize.loading import waiting_bytes
from anysize.memory import LargestImage, MemoryUse, available_bytes, choose_limit, is_checkpointed
from anysize.models import model_from_flags
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
    channels = table.channels_for(config.in_channels)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    with torch.random.fork_rng(devices=[]):
        model = model_from_flags(
            config.model, config.model_kwargs, num_classes=max(num_classes, 2), in_channels=channels
        )
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
            loading_bytes=waiting_bytes(channels, config.workers),
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
