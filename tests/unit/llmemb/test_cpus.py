import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmemb.cpus import THREAD_VARIABLES, cpu_quota, limit_threads, usable_cpus


def linux(folder: Path, *, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """A process's folder in `/proc`, and its control groups below the folder `fs`, which `mounts` calls FS."""
    for name, text in files.items():
        path = folder / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    (folder / "cgroup").write_text(cgroup, encoding="ascii")
    (folder / "mountinfo").write_text(mounts.replace("FS", str(folder / "fs")), encoding="ascii")
    return folder


UNIFIED = "30 23 0:26 / FS rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1 = (
    "31 23 0:27 / FS ro - tmpfs tmpfs rw\n"
    "32 31 0:28 ROOT FS/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:29 ROOT FS/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "expected"),
    [
        ("0::/\n", UNIFIED, {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", UNIFIED, {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", UNIFIED, {}, None),
        (
            "0::/pod/shop\n",
            UNIFIED,
            {"pod/cpu.max": "50000 100000\n", "pod/shop/cpu.max": "400000 100000\n", "cpu.max": "max 100000\n"},
            0.5,
        ),
        ("0::/../host\n", UNIFIED, {"cpu.max": "300000 100000\n"}, 3.0),
        (
            "5:memory:/\n4:cpu,cpuacct:/\n0::/\n",
            V1.replace("ROOT", "/"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            1.5,
        ),
        (
            "4:cpu,cpuacct:/\n",
            V1.replace("ROOT", "/"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        (
            "4:cpu,cpuacct:/docker/abc\n",
            V1.replace("ROOT", "/docker/abc"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "20000\n", "cpu,cpuacct/cpu.cfs_period_us": "10000\n"},
            2.0,
        ),
        ("4:cpuset:/\n", V1.replace("ROOT", "/"), {}, None),
    ],
    ids=["v2", "v2 none", "v2 no file", "v2 parent", "v2 outside", "v1", "v1 none", "v1 container", "no group"],
)
def test_quota_is_the_smallest_of_the_groups(
    tmp_path: Path, cgroup: str, mounts: str, files: dict[str, str], expected: float | None
) -> None:
    """Both versions of control groups are read, and those of the groups above."""
    assert cpu_quota(linux(tmp_path, cgroup=cgroup, mounts=mounts, files=files)) == expected


def test_quota_of_a_system_without_control_groups_is_none(tmp_path: Path) -> None:
    """Such as macOS, which has no `/proc`."""
    assert cpu_quota(tmp_path / "proc") is None


@pytest.mark.parametrize(("quota", "expected"), [("1000", 1), ("100000", 1), ("100000000", None)])
def test_usable_cpus_are_bounded_by_quota_and_affinity(tmp_path: Path, quota: str, expected: int | None) -> None:
    """A part of a CPU counts as one; a quota above the affinity changes nothing."""
    process = linux(tmp_path, cgroup="0::/\n", mounts=UNIFIED, files={"cpu.max": f"{quota} 100000\n"})

    assert usable_cpus(process) == (expected or len(os.sched_getaffinity(0)))


def test_usable_cpus_follow_the_affinity() -> None:
    """As set by `taskset` or a cpuset."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, affinity)


def test_threads_are_limited_only_by_a_quota(tmp_path: Path) -> None:
    """Variables that are set remain, and without a quota none is added."""
    environment = {"OMP_NUM_THREADS": "7"}
    linux(tmp_path, cgroup="0::/\n", mounts=UNIFIED, files={"cpu.max": "max 100000\n"})
    limit_threads(environment, tmp_path)
    assert environment == {"OMP_NUM_THREADS": "7"}

    linux(tmp_path, cgroup="0::/\n", mounts=UNIFIED, files={"cpu.max": "50000 100000\n"})
    limit_threads(environment, tmp_path)
    assert environment == dict.fromkeys(THREAD_VARIABLES, "1") | {"OMP_NUM_THREADS": "7"}


@pytest.fixture
def one_cpu_group() -> Iterator[Path]:
    """A control group with a quota of one CPU; skips where this process may not create one."""
    name = f"llmemb-test-{os.getpid()}"
    unified, v1 = Path("/sys/fs/cgroup", name), Path("/sys/fs/cgroup/cpu", name)
    group = v1 if v1.parent.is_dir() else unified
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be created: {error}")
    try:
        if group is v1:
            (group / "cpu.cfs_quota_us").write_text("100000", encoding="ascii")
        else:
            (group / "cpu.max").write_text("100000 100000", encoding="ascii")
    except OSError as error:
        group.rmdir()
        pytest.skip(f"the control group takes no quota: {error}")
    yield group
    group.rmdir()


_REPORT = """
import sys
from contextlib import suppress
from llmemb.cli import main

with suppress(SystemExit):
    main(["runs", sys.argv[1]])
import polars, torch
print(polars.thread_pool_size(), torch.get_num_threads())
"""


def test_program_starts_as_many_threads_as_its_real_quota_allows(tmp_path: Path, one_cpu_group: Path) -> None:
    """In a group with one CPU of Linux's own, torch and Polars use one thread, whatever the machine has."""
    if usable_cpus() == 1:
        pytest.skip("this machine has one CPU")
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    ran = subprocess.run(
        ["sh", "-c", f'echo $$ > {one_cpu_group}/cgroup.procs && exec "$@"', "sh",
         sys.executable, "-c", _REPORT, str(tmp_path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ran.stdout.splitlines()[-1] == "1 1"
