"""The CPUs that this process may use: its affinity, and the quota of its control groups.

The libraries count the CPUs of the machine, or those of the affinity. In a container with a quota of 1.5 on a machine
of 64 cores they would start 64 threads, which use up the quota together and then all wait for the next period.
"""

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
"""Read by the libraries when they are imported: torch and FAISS, MKL, NumPy, Polars, the tokenizers."""


def usable_cpus(process: Path = Path("/proc/self")) -> int:
    """Return the number of CPUs that this process may use, at least 1; a quota is rounded up.

    Args:
        process: the process's folder in Linux's `/proc`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(process)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def limit_threads(environment: MutableMapping[str, str], process: Path = Path("/proc/self")) -> None:
    """Set the variables of the libraries' threads to the quota, if there is one; those that are set remain.

    Call it before these libraries are imported.

    Args:
        environment: changed; child processes inherit it.
        process: the process's folder in Linux's `/proc`.
    """
    # Without a quota the libraries' own choice is better: some count cores, not hardware threads.
    if cpu_quota(process) is not None:
        for name in THREAD_VARIABLES:
            environment.setdefault(name, str(usable_cpus(process)))


def cpu_quota(process: Path = Path("/proc/self")) -> float | None:
    """Return the smallest CPU quota of the process's control groups, versions 1 and 2, in CPUs; None without a quota.

    Args:
        process: the process's folder in Linux's `/proc`.
    """
    try:
        quotas = [quota for folder in _control_groups(process) if (quota := _quota_of(folder)) is not None]
    except (OSError, ValueError):  # not Linux, or without control groups
        return None
    return min(quotas, default=None)


def _control_groups(process: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups that may limit CPUs, and of the groups that contain them."""
    groups: dict[str, PurePosixPath] = {}
    for line in (process / "cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            groups["cgroup" if controllers else "cgroup2"] = PurePosixPath(group)
    for line in (process / "mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, system = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split()
        kind, _, options = system.split()
        if kind not in groups or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        # Without a namespace of its own, a container sees its group as the mount's root, but its path from the host's.
        inside = groups[kind].relative_to(root) if groups[kind].is_relative_to(root) else PurePosixPath()
        for path in (inside, *inside.parents):
            yield Path(point) / path


def _quota_of(folder: Path) -> float | None:
    unified, quota, period = (folder / name for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"))
    if unified.is_file():
        limit, interval = unified.read_text(encoding="ascii").split()
    elif quota.is_file():
        limit, interval = (path.read_text(encoding="ascii").strip() for path in (quota, period))
    else:
        return None
    # Version 2 writes max for no quota, version 1 writes -1.
    return None if limit == "max" or int(limit) < 0 else int(limit) / int(interval)
