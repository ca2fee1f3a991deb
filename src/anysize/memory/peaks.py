"""The highest memory that a piece of work takes, by the best witness that the system has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from anysize.memory.available import free_memory

__all__ = ["peak_rise", "traced_rise"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_rise(work: Callable[[], object], device: torch.device) -> int:
    """Run ``work`` and return by how many bytes the memory in use rose at its highest.

    CUDA and MPS: what torch took from the driver. Linux: the resident set of the process as the kernel has it, which
    knows of every library's buffers and of what the allocator cannot reuse. Elsewhere: the blocks that torch allocated.
    """
    free_memory(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        work()
        torch.cuda.synchronize(device)
        return max(torch.cuda.max_memory_reserved(device) - before, 0)
    if device.type == "mps":
        before = torch.mps.driver_allocated_memory()
        work()
        torch.mps.synchronize()
        return max(torch.mps.driver_allocated_memory() - before, 0)  # what it had at its highest, it keeps
    if device.type == "cpu" and _resets():
        before = _highest()
        work()
        return max(_highest() - before, 0)
    return traced_rise(work)


def _resets() -> bool:
    """Make the kernel forget the highest resident set so far; whether it can."""
    try:
        _CLEAR.write_text("5")
        return _highest() > 0
    except OSError:
        return False


def _highest() -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def traced_rise(work: Callable[[], object]) -> int:
    """The same from the profiler's record of every block that torch allocated and freed; libraries' own are missing."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    profiler: Any = recorded.profiler
    events = profiler.kineto_results.events()
    blocks = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    total = highest = 0
    for _, num_bytes in blocks:
        total += num_bytes
        highest = max(highest, total)
    return highest
