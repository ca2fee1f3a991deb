"""What the control groups of Linux allow this process: containers and batch systems set their limits there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["GroupLimit", "group_limits"]


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """The memory limit of one control group."""

    folder: Path
    limit: int
    """Bytes."""
    used: int
    """Bytes that all processes of the group hold and the kernel cannot take back: without the cache of files."""

    @property
    def available(self) -> int:
        """Bytes that the group may still take; 0 where it is over its limit."""
        return max(self.limit - self.used, 0)


def group_limits(proc: Path = Path("/proc/self")) -> list[GroupLimit]:
    """The limits of this process's control groups and of all groups above them, version 1 and 2.

    A group without a limit is left out, and so is what cannot be read: no control groups, another system.

    Args:
        proc: the folder with ``cgroup`` and ``mountinfo``.
    """
    limits = []
    for folder, version in _folders(proc):
        found = _read_v2(folder) if version == 2 else _read_v1(folder)
        if found is not None:
            limits.append(found)
    return limits


def _folders(proc: Path) -> Iterator[tuple[Path, int]]:
    """Each folder of the memory hierarchies, from this process's own group upwards, with the version (1 or 2)."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version = 1 if controllers else 2
        for root, mount in _mounts(mounts, version):
            # The mount shows the hierarchy from ``root`` down; in a container that may be this very group.
            inside = PurePosixPath(path)
            below = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
            folder = mount / below
            while True:
                yield folder, version
                if folder == mount:
                    break
                folder = folder.parent


def _mounts(lines: list[str], version: int) -> Iterator[tuple[PurePosixPath, Path]]:
    """Where the memory hierarchy is mounted: (which part of it, at which folder)."""
    for line in lines:
        fields, dash, kind = line.partition(" - ")
        if not dash:
            continue
        kinds = kind.split()
        wanted = kinds[0] == "cgroup2" if version == 2 else kinds[0] == "cgroup" and "memory" in kinds[-1].split(",")
        if wanted:
            root, mount = fields.split()[3:5]
            yield PurePosixPath(_unescaped(root)), Path(_unescaped(mount))


def _unescaped(name: str) -> str:
    return name.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _read_v2(folder: Path) -> GroupLimit | None:
    # Above memory.high a group is slowed down until it hardly moves, so that is a limit as well.
    limits = [limit for name in ("memory.max", "memory.high") if (limit := _number(folder / name)) is not None]
    used = _number(folder / "memory.current")
    if not limits or used is None:
        return None
    statistics = _statistics(folder / "memory.stat")
    cache = sum(statistics.get(name, 0) for name in ("inactive_file", "active_file", "slab_reclaimable"))
    return GroupLimit(folder, min(limits), max(used - cache, 0))


def _read_v1(folder: Path) -> GroupLimit | None:
    limit, used = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")
    if limit is None or used is None or limit >= 1 << 62:  # version 1 writes "no limit" as almost 2^63
        return None
    statistics = _statistics(folder / "memory.stat")
    cache = sum(statistics.get(name, 0) for name in ("total_inactive_file", "total_active_file"))
    return GroupLimit(folder, limit, max(used - cache, 0))


def _number(path: Path) -> int | None:
    """The number in a file; None for "max", and where there is no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _statistics(path: Path) -> dict[str, int]:
    try:
        pairs = [line.split() for line in path.read_text().splitlines()]
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except (OSError, ValueError):
        return {}
