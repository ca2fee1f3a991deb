"""What was measured once is remembered: JSON files, from a digest of what the figures depend on to the figures."""

import ctypes
import hashlib
import json
import math
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anysize.atomic import write_text
from anysize.data.cache import default_cache_folder

__all__ = ["Store", "circumstances"]

_MOST_ENTRIES = 1000


class Store:
    """Figures by name, under keys from `circumstances`.

    Args:
        name: of the file in the cache folder (``$ANYSIZE_CACHE``, or ``~/.cache/anysize``).
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def recall(self, key: str) -> dict[str, float] | None:
        """Return what is remembered under ``key``, or None; figures are numbers of at least 0."""
        entry = _read(self._path).get(key)
        if not isinstance(entry, dict):
            return None
        sound = all(isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in entry.values())
        return entry if sound else None

    def remember(self, key: str, figures: Mapping[str, float]) -> None:
        """Keep ``figures`` under ``key``. A cache that cannot be written is done without; a damaged one begins anew."""
        entries = _read(self._path)
        entries.pop(key, None)
        kept = dict(list(entries.items())[-(_MOST_ENTRIES - 1) :])
        with suppress(OSError):
            write_text(self._path, json.dumps({**kept, key: dict(figures)}, indent=1) + "\n")

    @property
    def _path(self) -> Path:
        return default_cache_folder() / self._name


def circumstances(
    model: nn.Module, device: torch.device, *, optimizer: torch.optim.Optimizer | None, **mode: object
) -> str:
    """Return the SHA-256 of what memory and time of a pass depend on: network, device, mode and versions.

    Not of how much is available: that changes, and limits are worked out anew each time.

    Args:
        model: its classes and the shapes of its tensors count, its weights do not.
        device: its kind, and its memory in all.
        optimizer: its class counts.
        mode: anything else, as plain values: training, memory format, checkpointing, the format of the figures.
    """
    shapes = [(name, list(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()]
    # With their arguments: a dilation or a stride changes the maps, and no shape of a weight.
    modules = [(name, type(module).__name__, module.extra_repr()) for name, module in model.named_modules()]
    content = [
        modules,
        shapes,
        _describe(device),
        None if optimizer is None else type(optimizer).__name__,
        sorted((name, str(value)) for name, value in mode.items()),
        torch.__version__,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe(device: torch.device) -> list[object]:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return [properties.name, properties.total_memory, torch.version.cuda]
    # Each thread has buffers of its own.
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return [device.type, platform.machine(), capability, threads, _keeps_large_blocks()]


class _MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc's <malloc.h>."""

    # All of them are size_t; hblks counts the blocks that come straight from the kernel.
    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


def _keeps_large_blocks() -> bool | None:
    """Whether the C library keeps large blocks for reuse (`anysize.startup`): then gaps between them cost half as much
    again. Asked of the library itself, since whoever uses anysize may have set it or not. None where it cannot say.
    """
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _MallocInfo
    before = library.mallinfo2().hblks
    block = torch.empty(256 << 20, dtype=torch.uint8)  # never written to: no memory is taken
    from_the_kernel = library.mallinfo2().hblks > before
    del block
    return not from_the_kernel
