"""Process settings: applied when asked for, never by importing, and never over what a user has set."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from anysize import startup
from anysize.errors import UsageError
from anysize.startup import StartupSettings, apply

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
ON_GLIBC = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="needs glibc"
)


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def only_onednn(size: int) -> StartupSettings:
    return StartupSettings(keep_memory=False, onednn_cache=size)


def test_the_cache_s_size_is_set_before_torch_is_loaded() -> None:
    assert apply(only_onednn(123)) == []
    assert os.environ[VARIABLE] == "123"


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "7")
    assert apply(only_onednn(123)) == []
    assert os.environ[VARIABLE] == "7"
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert apply(only_onednn(123)) == []


def test_behind_torch_it_is_too_late_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert apply(only_onednn(123)) == ["onednn_cache: not applied, torch was imported before"]
    assert VARIABLE not in os.environ


def test_zero_leaves_the_default() -> None:
    assert apply(only_onednn(0)) == []
    assert VARIABLE not in os.environ


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        StartupSettings(onednn_cache=-1)
    assert caught.value.message == "--onednn-cache is -1; it must be 0 (leave the default) or more"


class FakeLibc:
    """A C library whose mallopt takes no block size above ``largest``."""

    gnu_get_libc_version = None

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.set: dict[int, int] = {}

    def mallopt(self, parameter: int, value: int) -> int:
        if parameter == -3 and value > self.largest:
            return 0
        self.set[parameter] = value
        return 1


@pytest.mark.parametrize(("largest", "kept"), [(1 << 40, 1 << 30), (32 << 20, 32 << 20)])
def test_new_and_old_glibc_keep_as_much_as_they_can(largest: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibc(largest)
    monkeypatch.setattr(startup.ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(sys, "platform", "linux")
    assert apply(StartupSettings(onednn_cache=0)) == []
    assert library.set == {-3: kept, -1: 1 << 30, -2: 64 << 20}


@pytest.mark.parametrize("where", ["darwin", "musl", "refusing"])
def test_without_glibc_it_is_said(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin" if where == "darwin" else "linux")
    library = FakeLibc(0) if where == "refusing" else SimpleNamespace(mallopt=None)
    monkeypatch.setattr(startup.ctypes, "CDLL", lambda _: library)
    notes = apply(StartupSettings(onednn_cache=0))
    assert notes == ["keep_memory: not applied, this C library has no mallopt (glibc has)"]


RESIDENT = """
import os, sys
from anysize.startup import StartupSettings, apply
if sys.argv[1] == "apply":
    assert apply(StartupSettings()) == []
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
block = bytearray(b"x") * 100_000_000
del block
print(resident() - before)
"""


@ON_GLIBC
def test_freed_memory_is_kept_only_if_asked_for() -> None:
    """Importing anysize alone leaves the allocator as it is: a large block goes back to the kernel."""
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", RESIDENT, how], capture_output=True, check=True).stdout)
        for how in ("apply", "import")
    )
    assert kept > 90_000_000
    assert returned < 10_000_000


def test_importing_the_library_sets_no_variable() -> None:
    code = (
        "import os; before = dict(os.environ); import anysize, anysize.startup, anysize.options; "
        "assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
