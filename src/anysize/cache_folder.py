"""Where anysize keeps what it can work out or download again."""

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """``$ANYSIZE_CACHE``, or ``~/.cache/anysize``."""
    folder = os.environ.get("ANYSIZE_CACHE")
    return Path(folder) if folder else Path("~/.cache/anysize").expanduser()
