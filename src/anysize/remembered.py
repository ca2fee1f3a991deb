"""What was measured once is remembered: JSON files, from a digest of what the figures depend on to the figures."""

import ctypes
import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anysize.atomic import write_text
from anysize.cache_folder import cache_folder
from anysize.version import __version__

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
        return entry if all(_is_figure(value) for value in entry.values()) else None

    def remember(self, key: str, figures: Mapping[str, float]) -> None:
        """Keep ``figures`` under ``key``. A cache that cannot be written is done without; a damaged one begins anew."""
        entries = _read(self._path)
        entries.pop(key, None)
        kept = dict(list(entries.items())[-(_MOST_ENTRIES - 1) :])
        with suppress(OSError):
            write_text(self._path, json.dumps({**kept, key: dict(figures)}, indent=1) + "\n")

    @property
    def _path(self) -> Path:
        return cache_folder() / self._name


def _is_figure(value: object) -> bool:
    # A bool is an int for Python, and an int may be larger than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


def circumstances(
    model: nn.Module, device: torch.device, *, optimizer: torch.optim.Optimizer | None, **mode: object
) -> str:
    """Return the SHA-256 of what memory and time of a pass depend on: network, device, mode and versions.

    Not of how much is available: that changes, and limits are worked out anew each time.

    Args:
        model: its classes, their plain attributes, the shapes of its tensors and which of them are trained count; its
            weights do not.
        device: its kind, and its memory in all.
        optimizer: its class and its options count, but for the learning rate.
        mode: anything else, as plain values: training, memory format, checkpointing, the format of the figures.
    """
    shapes = [(name, list(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()]
    content = [
        [(name, *_describe_module(module)) for name, module in model.named_modules()],
        shapes,
        [name for name, parameter in model.named_parameters() if parameter.requires_grad],
        _describe(device),
        None if optimizer is None else _describe_optimizer(optimizer),
        sorted((name, str(value)) for name, value in mode.items()),
        torch.__version__,
        __version__,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _describe_module(module: nn.Module) -> tuple[str, str, list[tuple[str, str]]]:
    """Its class, its arguments (a dilation or a stride changes the maps, and no shape of a weight), its attributes."""
    kind = type(module)
    attributes = [(name, _plain(value)) for name, value in vars(module).items() if not name.startswith("_")]
    # The mode of the measurement is told apart already.
    shown = sorted((name, text) for name, text in attributes if text is not None and name != "training")
    return f"{kind.__module__}.{kind.__qualname__}", module.extra_repr(), shown


def _describe_optimizer(optimizer: torch.optim.Optimizer) -> list[object]:
    kind = type(optimizer)
    options = [
        sorted((name, text) for name, value in group.items() if (text := _plain(value)) is not None)
        for group in optimizer.param_groups
    ]
    # A schedule moves the learning rate, and leaves what it began with.
    return [
        f"{kind.__module__}.{kind.__qualname__}",
        [[option for option in group if option[0] not in ("lr", "initial_lr")] for group in options],
    ]


def _plain(value: object) -> str | None:
    """What a number, a word or a row of them is written as; None for anything else."""
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return repr(value)
    if isinstance(value, list | tuple):
        parts = [_plain(item) for item in value]
        return None if None in parts else repr(parts)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
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
