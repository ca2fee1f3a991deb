from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def decoded() -> Callable[[Path], Image.Image]:
    """Decode a PNG in full: a truncated file fails here."""

    def decode(path: Path) -> Image.Image:
        with Image.open(path) as image:
            assert image.format == "PNG"
            return image.convert("RGB")

    return decode
