"""Memory that is really available: the system, control groups of both versions, and those above them."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anysize.errors import UsageError
from anysize.memory import available
from anysize.memory.available import available_bytes
from anysize.memory.control_groups import group_limits

CPU = torch.device("cpu")
MIB = 2**20


def process(root: Path, groups: str, mounts: str) -> Path:
    """A /proc/self with these control groups; MOUNT stands for the folder ``root``/mount."""
    proc = root / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(mounts.replace("MOUNT", str(root / "mount")))
    return proc


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_version_2_counts_the_groups_above_and_not_the_cache_of_files(tmp_path: Path) -> None:
    proc = process(tmp_path, "0::/jobs/mine\n", "31 23 0:28 / MOUNT rw,nosuid - cgroup2 cgroup2 rw\n")
    mount = tmp_path / "mount"
    group(mount, memory__stat="anon 1\n")
    group(
        mount / "jobs",
        memory__max="1000\n",
        memory__current="900\n",
        memory__stat="inactive_file 60\nactive_file 40\nfile 400\n",
    )
    group(mount / "jobs" / "mine", memory__max="max\n", memory__high="800\n", memory__current="90\n")
    mine, jobs = group_limits(proc)
    assert (mine.folder, mine.limit, mine.used, mine.available) == (mount / "jobs" / "mine", 800, 90, 710)
    assert (jobs.folder, jobs.limit, jobs.used, jobs.available) == (mount / "jobs", 1000, 800, 200)


def test_version_1_in_a_container_that_sees_its_own_part_only(tmp_path: Path) -> None:
    groups = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"
    mounts = (
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "35 31 0:32 /docker/abc MOUNT rw,relatime shared:7 - cgroup cgroup rw,memory\n"
    )
    proc = process(tmp_path, groups, mounts)
    group(
        tmp_path / "mount",
        memory__limit_in_bytes="500\n",
        memory__usage_in_bytes="520\n",
        memory__stat="cache 99\ntotal_inactive_file 10\ntotal_active_file 5\n",
    )
    (limit,) = group_limits(proc)
    assert (limit.limit, limit.used, limit.available) == (500, 505, 0)


def test_no_limit_and_no_control_groups(tmp_path: Path) -> None:
    proc = process(tmp_path, "4:memory:/a\n", "35 31 0:32 / MOUNT rw - cgroup cgroup rw,memory\n")
    group(tmp_path / "mount" / "a", memory__limit_in_bytes="9223372036854771712\n", memory__usage_in_bytes="520\n")
    assert group_limits(proc) == []
    assert group_limits(tmp_path / "nowhere") == []


def test_the_least_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proc = process(tmp_path, "0::/\n", "31 23 0:28 / MOUNT rw - cgroup2 cgroup2 rw\n")
    group(tmp_path / "mount", memory__max=f"{64 * MIB}", memory__current=f"{24 * MIB}")
    free = available_bytes(CPU)
    assert free > 64 * MIB
    monkeypatch.setattr(available, "group_limits", lambda: group_limits(proc))
    assert available_bytes(CPU) == 40 * MIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v counts on Linux only")
def test_a_limit_of_the_process_itself_counts() -> None:
    code = (
        "import resource, torch; from anysize.memory import available_bytes; "
        f"resource.setrlimit(resource.RLIMIT_AS, ({4096 * MIB}, {4096 * MIB})); "
        "print(available_bytes(torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 4096 * MIB * 3 // 4
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_meminfo_and_vm_stat(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemFree: 10 kB\nMemAvailable:  64 kB\n")
    assert available._of_the_system(tmp_path) == 64 * 1024
    printed = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                     10.\nPages active:                   70.\n"
        'Pages inactive:                  5.\n"Translation faults":             3.\nPages purgeable:   1.\n'
    )
    assert available._of_a_mac(printed) == 16384 * 16


def test_where_nothing_is_known_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(UsageError) as raised:
        available._of_the_system(tmp_path)
    assert str(raised.value) == (
        "--max-pixels is auto; how much memory is available cannot be found out on plan9 (no /proc/meminfo with "
        "MemAvailable)\nhint: give a number: --max-pixels 8000000"
    )
