"""Fixtures that all tests may use."""

import os
from pathlib import Path

import pytest

# Before torch is loaded, and for the processes that tests start. Beside other work, threads that wait for a
# busy core make tiny tensors ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images that lies beside the repository; tests that need it are skipped without."""
    named = os.environ.get("ANYSIZE_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"NO REAL DATA at {folder}: set ANYSIZE_TEST_DATA to the folder that holds cats_dogs/ and others")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the cache of whoever runs it."""
    monkeypatch.setenv("ANYSIZE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small images of two classes; not to be changed."""
    from toy import write_stripes

    return write_stripes(tmp_path_factory.mktemp("toy") / "stripes")


@pytest.fixture(scope="session")
def trained(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `stripes`; not to be changed."""
    from anysize.training.run import train
    from toy import QUIET, quick

    run = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYSIZE_CACHE", str(run.parent / "cache"))
        train(quick(stripes, run, epochs=4, tensorboard=True), console=QUIET)
    return run
