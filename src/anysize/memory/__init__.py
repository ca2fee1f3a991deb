"""How much goes through a network at once: measured on the device, kept below its memory, and mended when it fails."""

from anysize.memory.available import available_bytes, free_memory
from anysize.memory.checkpointing import disable_checkpointing, enable_checkpointing, is_checkpointed
from anysize.memory.limit import LargestImage, PixelLimit, check_elements, choose_limit
from anysize.memory.measure import MemoryUse, measure_memory
from anysize.memory.pieces import without_pieces
from anysize.memory.search import fitting_pixels, images_that_fit
from anysize.memory.shortage import Undo, attempt, is_out_of_memory

__all__ = [
    "LargestImage",
    "MemoryUse",
    "PixelLimit",
    "Undo",
    "attempt",
    "available_bytes",
    "check_elements",
    "choose_limit",
    "disable_checkpointing",
    "enable_checkpointing",
    "fitting_pixels",
    "free_memory",
    "images_that_fit",
    "is_checkpointed",
    "is_out_of_memory",
    "measure_memory",
    "without_pieces",
]
