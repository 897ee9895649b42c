"""How much memory this process may still take: containers often have a limit and see all memory."""

import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def available_bytes(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int | None:
    """What is left of the machine's memory, of the container's limit and of this process's address
    space, whichever is least; None where the system tells nothing."""
    left = (_of_machine(meminfo), _of_container(cgroup), _of_process())
    return max(0, min(found)) if (found := [size for size in left if size is not None]) else None


def _of_machine(meminfo: Path) -> int | None:
    size = _fields(meminfo).get("MemAvailable:")
    return None if size is None else size * 1024


def _of_container(cgroup: Path) -> int | None:
    """Version 2, then version 1. Cached files count as used there, and can be dropped."""
    v1 = cgroup / "memory"
    for limit, used, dropped in (
        (cgroup / "memory.max", cgroup / "memory.current", "inactive_file"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            left = int(limit.read_text()) - int(used.read_text())
        except (OSError, ValueError):
            continue  # not this version; or "max": no limit
        return left + _fields(limit.with_name("memory.stat")).get(dropped, 0)
    return None


def _of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return most
    return most - pages * resource.getpagesize()


def _fields(path: Path) -> dict[str, int]:
    """The first number on each line."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
