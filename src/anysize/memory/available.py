"""How many bytes a device can really give to this process now."""

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import torch

from anysize.errors import UsageError
from anysize.memory.control_groups import group_limits

__all__ = ["available_bytes", "free_memory"]


def free_memory(device: torch.device) -> None:
    """Hand back what is held and not used: objects in cycles, the caches of the allocators."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)


def available_bytes(device: torch.device) -> int:
    """Return the bytes that this process can still take on ``device``.

    CPU: the least of what the kernel has available, what each control group of the process still may take, and the
    process's own limit (``ulimit -v``). CUDA: what the driver has free and what torch holds and does not use. Call
    `free_memory` before: memory that is only kept for reuse counts as taken on a CPU.

    Raises:
        UsageError: this system does not tell.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), 0)
    if device.type != "cpu":
        raise _unknown(f"a device of type {device.type}")
    limits = [_of_the_system(), *(group.available for group in group_limits())]
    own = _of_the_process()
    return min([*limits, own] if own is not None else limits)


def _of_the_system(proc: Path = Path("/proc")) -> int:
    """What can be taken without swapping: free memory, and caches that can be dropped."""
    if (proc / "meminfo").is_file():
        for line in (proc / "meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    if sys.platform == "darwin":
        return _of_a_mac(subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=True).stdout)
    raise _unknown(f"{sys.platform} (no /proc/meminfo with MemAvailable)")


def _of_a_mac(vm_stat: str) -> int:
    """Read what vm_stat prints: the size of a page, and pages by their state."""
    head, *lines = vm_stat.splitlines()
    page = int(head.partition("page size of ")[2].split()[0])
    counts = {name: int(value.strip(" .")) for name, colon, value in (line.partition(":") for line in lines) if colon}
    return page * sum(counts.get(f"Pages {state}", 0) for state in ("free", "inactive", "speculative", "purgeable"))


def _of_the_process() -> int | None:
    """What the limit of this process's address space leaves; None without one."""
    if not sys.platform.startswith("linux"):
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    # It counts addresses, also of memory that is never touched: compiled kernels and allocators take many of those.
    return max(limit - pages * resource.getpagesize(), 0) * 3 // 4


def _unknown(what: str) -> UsageError:
    return UsageError(
        f"--max-pixels is auto; how much memory is available cannot be found out on {what}",
        hint="give a number: --max-pixels 8000000",
    )
