"""How many images a second a network answers for, all of one size: quick, and fair enough to compare networks."""

import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

__all__ = ["Speed", "describe_machine", "measure_images_per_second"]

_WARM_UPS = 2
_ROUNDS = 7
_LEAST_ROUNDS = 3
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


def measure_images_per_second(model: nn.Module, in_channels: int, size: tuple[int, int], *, batch_size: int) -> Speed:
    """Time forward passes: two to warm up, then the median of up to seven rounds, within six seconds or three rounds.

    Args:
        model: on the CPU. It is put into evaluation mode and the channels_last memory format.
        in_channels: of the images.
        size: (height, width) of them.
        batch_size: images a pass.
    """
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch_size, in_channels, *size, generator=generator)
    images = images.to(memory_format=torch.channels_last)
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(_WARM_UPS):
            model(images)
        started = time.perf_counter()
        while len(seconds) < _ROUNDS:
            if len(seconds) >= _LEAST_ROUNDS and time.perf_counter() - started > _ENOUGH_SECONDS:
                break
            before = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - before)
    return Speed(
        images_per_second=batch_size / statistics.median(seconds),
        spread=max(seconds) / min(seconds),
        rounds=len(seconds),
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        machine=describe_machine(),
    )


def describe_machine() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
