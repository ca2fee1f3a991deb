"""How many images a second a network answers for, all of one size: quick, and fair enough to compare networks."""

import functools
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from anysize.sizes import format_size

__all__ = ["BUDGET_SECONDS", "LEAST_ROUNDS", "NotMeasured", "Speed", "describe_machine", "measure_images_per_second"]

BUDGET_SECONDS = 10.0
"""For one network."""
LEAST_ROUNDS = 3
"""Unless the budget allows fewer."""
_ROUNDS = 7
_ENOUGH_SECONDS = 6.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Forward passes in evaluation mode, in float32 and channels_last, on the CPU."""

    images_per_second: float
    """By the median round."""
    spread: float
    """How many times longer the slowest round took than the fastest; much above 1: the machine was busy."""
    rounds: int
    batch_size: int
    threads: int
    machine: str


@dataclass(frozen=True, kw_only=True)
class NotMeasured:
    """A network that is too slow for the time that there is."""

    reason: str


def measure_images_per_second(
    model: nn.Module,
    in_channels: int,
    size: tuple[int, int],
    *,
    batch_size: int,
    multiply_adds: int,
    budget: float = BUDGET_SECONDS,
) -> Speed | NotMeasured:
    """Time forward passes: the median of up to seven rounds after warming up, within six seconds or three rounds.

    Where three rounds of ``batch_size`` would exceed the budget, images come one by one, in as many rounds as fit.

    Args:
        model: on the CPU. It is put into evaluation mode and the channels_last memory format.
        in_channels: of the images.
        size: (height, width) of them.
        batch_size: images a pass.
        multiply_adds: of one image, from which it is told beforehand that an image would take too long.
        budget: seconds in all.
    """
    expected = multiply_adds / _products_per_second()
    if 2 * expected > budget:
        return NotMeasured(reason=f"one image of {format_size(size)} would take about {expected:.0f} s")
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    deadline = _now() + budget
    one = _images(1, in_channels, size)
    cold = _timed(model, one)
    if 2 * cold > budget:
        return NotMeasured(reason=f"one image of {format_size(size)} takes about {cold:.0f} s")
    first = _timed(model, one)
    if batch_size == 1 or _now() + (1 + LEAST_ROUNDS) * batch_size * first > deadline:
        seconds, batch_size = _rounds(model, one, [first], deadline), 1
    else:
        images = _images(batch_size, in_channels, size)
        _timed(model, images)
        seconds = _rounds(model, images, [], deadline)
    return Speed(
        images_per_second=batch_size / statistics.median(seconds),
        spread=max(seconds) / min(seconds),
        rounds=len(seconds),
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        machine=describe_machine(),
    )


def _rounds(model: nn.Module, images: Tensor, seconds: list[float], deadline: float) -> list[float]:
    """Add rounds to those that there are, at least one in all."""
    while len(seconds) < _ROUNDS:
        if len(seconds) >= LEAST_ROUNDS and sum(seconds) > _ENOUGH_SECONDS:
            break
        if seconds and _now() + max(seconds) > deadline:
            break
        seconds.append(_timed(model, images))
    return seconds


def _timed(model: nn.Module, images: Tensor) -> float:
    before = _now()
    with torch.inference_mode():
        model(images)
    return _now() - before


def _now() -> float:
    return time.perf_counter()


def _images(count: int, in_channels: int, size: tuple[int, int]) -> Tensor:
    images = torch.rand(count, in_channels, *size, generator=torch.Generator().manual_seed(0))
    return images.to(memory_format=torch.channels_last)


@functools.cache
def _products_per_second() -> float:
    """How many multiply-adds a convolution of middling size does a second: more than most networks reach."""
    layer, images = nn.Conv2d(64, 64, 3, padding=1), torch.zeros(1, 64, 56, 56)
    seconds = min(_timed(layer, images) for _ in range(5))
    return images[0].numel() * layer.weight[0].numel() / max(seconds, 1e-6)


def describe_machine() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
