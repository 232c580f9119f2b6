import os
import subprocess

import pytest

from bompnas.trials.executors import gpus

LISTING = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1f1ba0d6-d33d-2b2c-524d-9e3d8d2b8a78)
"""
PARTS = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa)
  MIG 3g.20gb     Device  1: (UUID: MIG-bbbb)
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Says what `nvidia-smi -L` prints, None where it is not installed, and what `CUDA_VISIBLE_DEVICES` holds."""

    def set_up(listing, visible=None, status=0, driver=0):
        def nvidia_smi(command, **kwargs):
            assert command == ["nvidia-smi", "-L"]
            if listing is None:
                raise FileNotFoundError(command[0])
            return subprocess.CompletedProcess(command, status, listing, "")

        monkeypatch.setattr(subprocess, "run", nvidia_smi)
        monkeypatch.setattr(gpus, "_DRIVER", tmp_path)
        for number in range(driver):
            (tmp_path / f"0000:0{number}:00.0").mkdir()
        monkeypatch.delenv(gpus.VISIBLE, raising=False)
        if visible is not None:
            monkeypatch.setenv(gpus.VISIBLE, visible)

    return set_up


@pytest.mark.parametrize(
    ("listing", "visible", "found"),
    [
        (None, None, ()),
        (None, "0", ()),
        (LISTING, None, ("0", "1")),
        (LISTING, "", ()),
        (LISTING, "-1", ()),
        (LISTING, "NoDevFiles", ()),
        (LISTING, "1", ("1",)),
        (LISTING, "1, 0", ("1", "0")),
        (LISTING, "1,2,0", ("1",)),
        (LISTING, "GPU-1f1ba0d6,0", ("GPU-1f1ba0d6", "0")),
        (PARTS, None, ("MIG-aaaa", "MIG-bbbb")),
        (PARTS, "MIG-bbbb", ("MIG-bbbb",)),
    ],
)
def test_gpus_are_found_as_cuda_would_find_them(machine, listing, visible, found):
    machine(listing, visible)
    assert gpus.found() == found


def test_the_driver_knows_them_where_nvidia_smi_does_not(machine):
    machine("NVIDIA-SMI has failed", status=9, driver=3)
    assert gpus.found() == ("0", "1", "2")


def test_a_machine_without_gpus_leaves_workers_alone():
    assert gpus.environment(0, ()) == {}


def test_workers_take_turns_over_the_gpus_and_leave_memory_to_each_other(monkeypatch):
    for name in gpus.SHARING:
        monkeypatch.delenv(name, raising=False)
    found = [gpus.environment(slot, ("0", "GPU-b")) for slot in range(3)]
    assert [environment.pop(gpus.VISIBLE) for environment in found] == ["0", "GPU-b", "0"]
    assert found == [gpus.SHARING] * 3


def test_a_driver_leaves_memory_to_its_workers(monkeypatch):
    for name in gpus.SHARING:
        monkeypatch.setenv(name, "as the user says")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
    gpus.share()
    assert [os.environ[name] for name in gpus.SHARING] == ["true", "as the user says"]


def test_what_the_user_says_of_a_gpu_s_memory_holds(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    assert gpus.environment(0, ("0",))["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"
