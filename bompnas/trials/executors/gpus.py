"""NVIDIA GPUs of this machine, found without a framework, and how workers share them."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARING = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Lets TensorFlow and JAX take memory as they need it instead of all that there is."""

_DRIVER = Path("/proc/driver/nvidia/gpus")
_LISTING_TIMEOUT = 30  # [s]; an nvidia-smi without its daemon takes seconds for each GPU


def found() -> tuple[str, ...]:
    """The GPUs that this process may use, each as `CUDA_VISIBLE_DEVICES` names it; that variable is respected."""
    present = _present()
    if VISIBLE not in os.environ:
        return present
    visible = []
    for name in (part.strip() for part in os.environ[VISIBLE].split(",")):
        if not (name.isdecimal() and int(name) < len(present)) and not (present and name.startswith(("GPU-", "MIG-"))):
            break  # CUDA, too, ignores what follows a name that it does not know
        visible.append(name)
    return tuple(visible)


def share() -> None:
    """Lets this process take a GPU's memory only as it needs it, if no framework has been imported yet."""
    for name, value in SHARING.items():
        os.environ.setdefault(name, value)


def environment(slot: int, names: Sequence[str]) -> dict[str, str]:
    """Environment variables that give a worker its GPU.

    Args:
        slot: Which of the workers, from 0.
        names: From `found`.
    """
    if not names:
        return {}
    sharing = {name: os.environ.get(name, value) for name, value in SHARING.items()}
    return {VISIBLE: names[slot % len(names)], **sharing}


def _present() -> tuple[str, ...]:
    """All GPUs: by number, or the parts of those that are divided by their ids."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_LISTING_TIMEOUT)
        text = listing.stdout if listing.returncode == 0 else ""
    except (OSError, subprocess.SubprocessError):
        text = ""
    return _listed(text) or _of_driver(_DRIVER)


def _listed(text: str) -> tuple[str, ...]:
    """The GPUs that `nvidia-smi -L` tells of."""
    whole = re.findall(r"^GPU (\d+):", text, re.MULTILINE)
    parts = re.findall(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)", text, re.MULTILINE)
    return tuple(parts or whole)


def _of_driver(folder: Path) -> tuple[str, ...]:
    """The GPUs that the kernel's driver tells of."""
    return tuple(str(number) for number in range(len(list(folder.glob("*")))))
