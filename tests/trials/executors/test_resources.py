import logging
import subprocess
import sys

import psutil
import pytest

from bompnas.trials.executors import gpus, resources


@pytest.fixture
def machine(tmp_path):
    """Writes files of `/proc` and `/sys` below a folder and returns it."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


UNIFIED = {
    "proc/self/cgroup": "0::/job/step\n",
    "sys/fs/cgroup/job/memory.max": "3000000\n",
    "sys/fs/cgroup/job/memory.current": "2500000\n",
    "sys/fs/cgroup/job/memory.stat": "anon 1000000\ninactive_file 1500000\n",
    "sys/fs/cgroup/job/step/memory.max": "max\n",
    "sys/fs/cgroup/job/step/memory.current": "2400000\n",
    "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
    "sys/fs/cgroup/job/cpu.max": "50000 100000\n",
}
SPLIT = {
    "proc/self/cgroup": "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n",  # a container sees its own group as the top
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000\n",
    "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 250000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
UNLIMITED = {
    "proc/self/cgroup": "4:memory:/\n1:cpu:/\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}


def test_limits_of_control_groups_hold(machine):
    root = machine(UNIFIED)
    assert resources.memory_total(root) == 3000000
    assert resources.memory_available(root) == 2000000
    assert resources.cores(root) == 1


def test_limits_of_separate_hierarchies_hold(machine):
    root = machine(SPLIT)
    assert resources.memory_total(root) == 4000000
    assert resources.memory_available(root) == 3250000
    assert resources.cores(root) == 1


@pytest.mark.parametrize("files", [{}, UNLIMITED])
def test_without_limits_the_machine_itself_counts(machine, files):
    root = machine(files)
    assert resources.memory_total(root) == psutil.virtual_memory().total
    assert 0 < resources.memory_available(root) <= psutil.virtual_memory().total
    assert resources.cores(root) == len(psutil.Process().cpu_affinity())


def test_a_part_of_a_core_s_time_counts_as_a_core(machine):
    root = machine({**UNIFIED, "sys/fs/cgroup/job/cpu.max": "10000 100000\n"})
    assert resources.cores(root) == 1


def test_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: 6)
    assert [resources.threads_per_worker(workers) for workers in (1, 2, 4, 1000)] == [6, 3, 1, 1]


def test_workers_share_the_memory(monkeypatch):
    monkeypatch.setattr(resources, "memory_total", lambda: 20e9)
    assert resources.memory_share(4) == 4e9


def test_a_given_number_of_workers_is_taken():
    assert resources.resolve(3) == 3


def test_auto_leaves_every_worker_what_it_may_use(monkeypatch):
    monkeypatch.setattr(gpus, "found", lambda: ())
    monkeypatch.setattr(resources, "cores", lambda: 16)
    monkeypatch.setattr(resources, "memory_available", lambda: 30e9)
    assert resources.resolve("auto", memory_gb=4) == 7


@pytest.mark.parametrize(
    ("found", "cores", "free", "workers", "reason"),
    [
        (("0", "1"), 16, 64e9, 2, "one for each GPU"),
        ((), 16, 64e9, 16, "16 cores"),
        ((), 16, 6.2e9, 4, "6.2 GB of free memory"),
        ((), 16, 0.5e9, 1, "0.5 GB of free memory"),
    ],
)
def test_auto_counts_gpus_else_cores_and_memory_and_says_why(monkeypatch, caplog, found, cores, free, workers, reason):
    monkeypatch.setattr(gpus, "found", lambda: found)
    monkeypatch.setattr(resources, "cores", lambda: cores)
    monkeypatch.setattr(resources, "memory_available", lambda: free)
    with caplog.at_level(logging.INFO, "bompnas"):
        assert resources.resolve("auto") == workers
    (message,) = caplog.messages
    assert message.startswith(f"workers: {workers}, ")
    assert reason in message


EATER = """
import subprocess, sys
kept = b"x" * 60_000_000
if len(sys.argv) > 1:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
    child.stdout.readline()
print(flush=True)
sys.stdin.readline()
"""


def test_memory_is_that_of_a_process_and_of_all_it_has_started():
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen([sys.executable, "-c", EATER], **options) as alone,
        subprocess.Popen([sys.executable, "-c", EATER, EATER], **options) as parent,
    ):
        for process in (alone, parent):
            process.stdout.readline()
        used = resources.memory_used([alone.pid, parent.pid])
        for process in (alone, parent):
            process.communicate(b"\n")
    assert 60e6 < used[alone.pid] < 90e6
    assert 120e6 < used[parent.pid] < 180e6
    assert resources.memory_used([alone.pid]) == {}


def test_mapped_files_count_for_nobody(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(100_000_000))
    program = f"""
import mmap, sys
with open({str(path)!r}, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    print(sum(mapped[::4096]), flush=True)
    sys.stdin.readline()
"""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **options) as reader:
        reader.stdout.readline()
        used = resources.memory_used([reader.pid])[reader.pid]
        resident = psutil.Process(reader.pid).memory_info().rss
        reader.communicate(b"\n")
    assert used < 50e6
    assert resident > 100e6
