"""Results on standard output: text for people, JSON for programs."""

import json
import math
import sys
from typing import Any

__all__ = ["write_json", "write_lines"]


def write_json(content: Any) -> None:
    """Write one JSON value; NaN, which JSON does not have, becomes null."""
    sys.stdout.write(json.dumps(_plain(content), indent=2) + "\n")


def write_lines(*lines: str) -> None:
    """Write lines of text."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
