"""Process settings that make many sizes fast on a CPU: applied once, before the first tensor.

Two defaults of the ground that torch stands on are made for one size:

* glibc's allocator hands every large block back to the kernel after use and asks for it anew (page by page) at the next
  operator. With ``keep_memory`` it keeps them (``mallopt``; glibc only).
* oneDNN compiles a kernel for each shape and keeps the last 1,024. Many sizes push each other out. ``onednn_cache``
  sets how many are kept.

The command line applies both; a program that uses anysize as a library decides for itself, because they concern the
whole process: ``anysize.startup.apply(StartupSettings())`` before torch is imported.
"""

import ctypes
import os
import sys
from dataclasses import dataclass

from anysize.errors import UsageError

__all__ = ["StartupSettings", "apply"]

# mallopt's parameter numbers, from <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_BLOCKS_BELOW_ARE_KEPT = 1 << 30  # bytes: larger blocks still go straight to the kernel
_BLOCKS_BELOW_ARE_KEPT_BY_OLD_GLIBC = 32 << 20  # bytes: glibc before 2.35 takes no more than this
_TOP_PAD = 64 << 20  # bytes: asked from the kernel at a time
_ONEDNN_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@dataclass(frozen=True, kw_only=True)
class StartupSettings:
    """What is set for this process, so that it is fast on a CPU."""

    keep_memory: bool = True
    """Let glibc keep large blocks for reuse instead of returning each to the kernel."""
    onednn_cache: int = 16_384
    """How many compiled CPU kernels oneDNN keeps (its own default is 1,024); 0 leaves the default."""

    def __post_init__(self) -> None:
        if self.onednn_cache < 0:
            raise UsageError(f"--onednn-cache is {self.onednn_cache}; it must be 0 (leave the default) or more")


def apply(settings: StartupSettings) -> list[str]:
    """Apply ``settings`` to this process and return a line for each one that could not be applied."""
    notes = []
    if settings.keep_memory and not _keep_memory():
        notes.append("keep_memory: not applied, this C library has no mallopt (glibc has)")
    if settings.onednn_cache and _ONEDNN_VARIABLE not in os.environ:  # what a user has set himself stays
        if "torch" in sys.modules:
            notes.append("onednn_cache: not applied, torch was imported before")
        else:
            os.environ[_ONEDNN_VARIABLE] = str(settings.onednn_cache)
    return notes


def _keep_memory() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    values = {
        _M_MMAP_THRESHOLD: (_BLOCKS_BELOW_ARE_KEPT, _BLOCKS_BELOW_ARE_KEPT_BY_OLD_GLIBC),
        _M_TRIM_THRESHOLD: (_BLOCKS_BELOW_ARE_KEPT,),
        _M_TOP_PAD: (_TOP_PAD,),
    }
    applied = [
        any(library.mallopt(parameter, value) == 1 for value in choices) for parameter, choices in values.items()
    ]
    return all(applied)
