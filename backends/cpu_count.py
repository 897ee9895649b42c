"""How many cores this process may keep busy: containers often have a quota and see all cores."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """The cores of this process's affinity, or of its container's CPU quota where that is less;
    a part of a core counts as one."""
    affinity = getattr(os, "sched_getaffinity", None)
    num_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota_us, period_us = _quota(cgroup)
    if quota_us <= 0 or period_us <= 0:
        return num_cores
    return min(num_cores, -(-quota_us // period_us))


def _quota(cgroup: Path) -> tuple[int, int]:
    """CPU time [us] that may be used in each period [us]; zeros without a limit."""
    v1 = cgroup / "cpu"
    for files in ([cgroup / "cpu.max"], [v1 / "cpu.cfs_quota_us", v1 / "cpu.cfs_period_us"]):
        try:
            quota, period = " ".join(file.read_text() for file in files).split()
            return int(quota), int(period)
        except (OSError, ValueError):
            continue  # not this version; or "max", or -1 in v1: no limit
    return 0, 0
