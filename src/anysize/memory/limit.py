"""The limit of pixels a pass that suits a network, a device and the largest image: what ``--max-pixels auto`` means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from anysize.errors import ImageSizeError
from anysize.memory.available import available_bytes, free_memory
from anysize.memory.checkpointing import disable_checkpointing, enable_checkpointing, is_checkpointed
from anysize.memory.measure import MAX_ELEMENTS, MemoryUse, Rehearsal, measure_memory, most_elements
from anysize.memory.remembered import circumstances, recall, remember
from anysize.memory.search import SHARE, fitting_pixels, most_images
from anysize.memory.shortage import is_out_of_memory

__all__ = ["LargestImage", "PixelLimit", "check_elements", "choose_limit"]

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class LargestImage:
    """The image that needs the largest canvas."""

    name: str
    canvas: tuple[int, int]
    """Height and width that it is laid on, as large as augmentation makes it."""

    @property
    def pixels(self) -> int:
        """Of its canvas."""
        return self.canvas[0] * self.canvas[1]


@dataclass(frozen=True, slots=True)
class PixelLimit:
    """How many canvas pixels a pass may hold, and why."""

    max_pixels: int
    use: MemoryUse
    available: int
    """Bytes that the device had."""

    def __str__(self) -> str:
        by_elements = self.max_pixels == self.use.largest_canvas_pixels
        why = "no tensor may reach 2^31 elements" if by_elements else f"{SHARE:.0%}".replace("%", " %")
        return (
            f"max pixels  {self.max_pixels / 1e6:.1f} M (measured: {self.use.bytes_per_pixel:.0f} bytes a pixel and "
            f"{self.use.bytes_fixed / _GIB:.1f} GiB in any case; {self.available / _GIB:.1f} GiB available, {why})"
        )


@dataclass(frozen=True, slots=True)
class _Situation:
    """What is measured: the network as it runs."""

    model: nn.Module
    in_channels: int
    training: bool
    optimizer: torch.optim.Optimizer | None
    channels_last: bool
    loading_bytes: float
    """A pixel, for images that wait for their turn in the memory of the CPU."""

    @property
    def device(self) -> torch.device:
        return next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))


def choose_limit(
    model: nn.Module,
    largest: LargestImage,
    *,
    in_channels: int,
    training: bool,
    optimizer: torch.optim.Optimizer | None = None,
    channels_last: bool = True,
    may_checkpoint: bool = False,
    loading_bytes: float = 0.0,
) -> PixelLimit:
    """Measure ``model`` (or recall what was measured) and return the limit for the memory that is available now.

    Args:
        model: on its device.
        largest: the image that must fit by itself.
        in_channels: of the images.
        training: whether it is trained, or answers only.
        optimizer: of ``model``.
        channels_last: memory format of the images.
        may_checkpoint: turn activation checkpointing on if ``largest`` would not fit without.
        loading_bytes: bytes a pixel that wait in the CPU's memory for their turn; they count if the model is there.

    Raises:
        ImageSizeError: the largest image does not fit; with what it needs, what there is, and the fixes.
    """
    situation = _Situation(model, in_channels, training, optimizer, channels_last, loading_bytes)
    limit = _limit(situation, largest)
    if limit.max_pixels >= largest.pixels:
        return limit
    if may_checkpoint and not is_checkpointed(model) and enable_checkpointing(model):
        with_checkpoints = _limit(situation, largest)
        if with_checkpoints.max_pixels >= largest.pixels:
            return with_checkpoints
        disable_checkpointing(model)
        limit = max(limit, with_checkpoints, key=lambda one: one.max_pixels)
    raise _too_large(limit, largest, situation.device)


def _limit(situation: _Situation, largest: LargestImage) -> PixelLimit:
    use = _use(situation)
    free_memory(situation.device)
    available = available_bytes(situation.device)
    if situation.device.type == "cpu":
        return PixelLimit(fitting_pixels(use, available), use, available)
    return PixelLimit(_tried(situation, use, largest.canvas, available), use, available)


def _use(situation: _Situation) -> MemoryUse:
    """What is measured, or was. Nothing in it comes from how much memory is there today."""
    key = circumstances(
        situation.model,
        situation.device,
        optimizer=situation.optimizer,
        training=situation.training,
        in_channels=situation.in_channels,
        channels_last=situation.channels_last,
        checkpointed=is_checkpointed(situation.model),
    )
    use = recall(key)
    if use is None:
        use = measure_memory(
            situation.model,
            in_channels=situation.in_channels,
            training=situation.training,
            optimizer=situation.optimizer,
            channels_last=situation.channels_last,
        )
        remember(key, use)
    if situation.device.type == "cpu":
        return replace(use, bytes_per_pixel=use.bytes_per_pixel + situation.loading_bytes)
    return use


def _tried(situation: _Situation, use: MemoryUse, canvas: tuple[int, int], available: int) -> int:
    """Try the worst canvas itself: a device of its own may run out of memory without harm to anyone else.

    Returns:
        Pixels a pass, for the memory that is there today: the allocator's gaps and the buffers of the kernels for just
        this canvas have been met. Not even one image: one pixel less, so that whoever asks sees that it does not fit.
    """
    area = canvas[0] * canvas[1]
    pixels = fitting_pixels(use, available)
    guess = pixels // area
    # However much went through once, a pixel takes no less than was measured.
    by_slope = int(SHARE * available / max(use.bytes_per_pixel, 1.0)) // area
    most = min(use.largest_canvas_pixels // area, max(min(2 * guess, by_slope), 1))
    if most < 1:
        return pixels
    rehearsal = Rehearsal(
        situation.model,
        in_channels=situation.in_channels,
        training=situation.training,
        optimizer=situation.optimizer,
        channels_last=situation.channels_last,
    )

    def fits(images: int) -> bool:
        return _fits(rehearsal, _laid(images, canvas, rehearsal.grouped), situation.device)

    found = most_images(fits, guess, most)
    if found == guess:
        return pixels
    return found * area if found else min(pixels, area - 1)


def _laid(images: int, canvas: tuple[int, int], grouped: bool) -> list[tuple[int, int, int]]:
    """Lay so many images on the canvas, in two parts where training takes several canvases together."""
    parts = [images - images // 2, images // 2] if grouped else [images]
    return [(count, *canvas) for count in parts if count]


def _fits(rehearsal: Rehearsal, canvases: Sequence[tuple[int, int, int]], device: torch.device) -> bool:
    """Whether the pass goes through and leaves a tenth of the memory that was free."""
    free_memory(device)
    before = available_bytes(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        reserved = torch.cuda.memory_reserved(device)
    try:
        rehearsal(canvases)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    else:
        failed = False
    if failed:  # outside of the except clause: the traceback holds the tensors of the pass
        free_memory(device)
        return False
    if device.type != "cuda":
        return True
    return torch.cuda.max_memory_reserved(device) - reserved <= SHARE * before


def check_elements(model: nn.Module, largest: LargestImage, max_pixels: int, *, in_channels: int) -> int:
    """Return ``max_pixels``, or less where a tensor of the network would reach 2^31 elements on so many.

    Raises:
        ImageSizeError: on the largest image alone one would.
    """
    most = int(MAX_ELEMENTS // max(most_elements(model, in_channels), 1.0))
    if min(largest.pixels, max_pixels) > most:
        raise _too_many_elements(largest, most)
    return min(max_pixels, most)


def _too_many_elements(largest: LargestImage, most: int) -> ImageSizeError:
    height, width = largest.canvas
    return ImageSizeError(
        f"{largest.name} needs a canvas of {height}x{width} (height x width): {largest.pixels / 1e6:.1f} Mpx; above "
        f"{most / 1e6:.1f} Mpx a tensor of this network has 2^31 elements or more, which kernels cannot count",
        hint=f"--max-side {_side(largest, most)}, or a network with fewer channels in its first layers",
    )


def _side(largest: LargestImage, pixels: int) -> int:
    """The longer side to shrink the image to, for so many pixels."""
    return int(max(largest.canvas) * (pixels / largest.pixels) ** 0.5)


def _too_large(limit: PixelLimit, largest: LargestImage, device: torch.device) -> ImageSizeError:
    height, width = largest.canvas
    most = limit.use.largest_canvas_pixels
    if largest.pixels > most:
        return _too_many_elements(largest, most)
    needed = limit.use.bytes_for(largest.pixels) / _GIB
    fixes = []
    if limit.max_pixels:
        fixes.append(f"--max-side {_side(largest, limit.max_pixels)}")
    fixes += ["a smaller network", f"more memory, or --max-pixels {largest.pixels} to try it all the same"]
    return ImageSizeError(
        f"{largest.name} needs a canvas of {height}x{width} (height x width): {largest.pixels / 1e6:.1f} Mpx, about "
        f"{needed:.1f} GiB; {device} has {limit.available / _GIB:.1f} GiB available, enough for "
        f"{limit.max_pixels / 1e6:.1f} Mpx",
        hint=", or ".join([", ".join(fixes[:-1]), fixes[-1]]),
    )
