"""Fixtures that all tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images that lies beside the repository; tests that need it are skipped without."""
    named = os.environ.get("ANYSIZE_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"NO REAL DATA at {folder}: set ANYSIZE_TEST_DATA to the folder that holds cats_dogs/ and others"
        )
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the cache of whoever runs it."""
    monkeypatch.setenv("ANYSIZE_CACHE", str(tmp_path_factory.mktemp("cache")))
