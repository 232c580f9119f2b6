"""What a run is, as its record tells it: the experiment as resolved, what must not change, with what it was begun."""

import dataclasses
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bompnas.experiment.schema import FREE
from bompnas.experiment.sections import LocatedSettings
from bompnas.networks.heads import HeadSource
from bompnas.space.network import Network
from bompnas.training.data import Dataset
from bompnas.training.image_files import ImageFiles
from bompnas.trials.setup import Setup, parts

_PACKAGES = ("bompnas", "tensorflow", "keras", "qkeras-v3", "numpy")


def record_meta(setup: Setup, threads: int) -> dict[str, Any]:
    """What the record of a run of these parts begins with.

    Args:
        setup: The experiment's parts.
        threads: Of each worker.
    """
    return {
        "experiment": _resolved(setup),
        "identity": run_identity(setup),
        "versions": _versions(),
        "threads": threads,
        "seed_network": _seed_network(setup).key,
        "quantities": [dataclasses.asdict(quantity) for quantity in setup.experiment.told],
    }


def run_identity(setup: Setup) -> dict[str, Any]:
    """What must be equal for a run to be continued: contents count, not paths, workers or exported files."""
    document = _resolved(setup)
    document["space"] = yaml.safe_load(setup.experiment.space_file.read_text(encoding="utf-8"))
    document["data"].pop("path", None)
    if not document["data"].get("stream"):
        document["data"].pop("stream", None)  # as in records from before there was the key
    document["data"]["fingerprint"] = _fingerprint(setup.dataset)
    document["head"]["layers"] = [  # tells heads of one class but other arguments apart
        f"{layer.name}: {layer.weights} weights" for layer in _seed_network(setup).head
    ]
    document["method"] |= _paths_as(_content, _method_files(setup))
    if setup.device is not None:
        document["hardware"] |= _paths_as(_content, setup.experiment.hardware.resolved)
    for free in FREE:
        document.pop(free, None)
    return document


def _resolved(setup: Setup) -> dict[str, Any]:
    """The experiment as nested mappings, defaults filled in and paths absolute.

    It can be run as it is, unless a head object or a data set was given in Python, which it can only name.
    """
    document = setup.experiment.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["space"] = str(setup.experiment.space_file)
    if setup.data_given:
        document["data"] = {"dataset": setup.dataset.name}
    elif setup.experiment.data.file is not None:
        document["data"]["path"] = str(setup.experiment.data.file)
    document["method"] |= _paths_as(str, _method_files(setup))
    document["head"]["class"] = _head_name(setup.head)
    if setup.device is not None:
        document["hardware"] |= _paths_as(str, setup.experiment.hardware.resolved)
    return document


def _method_files(setup: Setup) -> dict[str, Any]:
    method = setup.experiment.method
    return method.resolved if isinstance(method, LocatedSettings) else {}


def _seed_network(setup: Setup) -> Network:
    return setup.problem.space.decode(setup.problem.space.seed)


def _paths_as(write: Callable[[Path], str], value: Any) -> Any:
    """Plain data with its paths in another form."""
    if isinstance(value, dict):
        return {name: _paths_as(write, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_paths_as(write, part) for part in value]
    return write(value) if isinstance(value, Path) else value


def _content(file: Path) -> str:
    """What stands for a file's content."""
    return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() if file.is_file() else str(file)


def _head_name(source: HeadSource) -> str:
    if isinstance(source.given, str):
        return source.given
    named = source.given if hasattr(source.given, "__qualname__") else type(source.given)
    return f"{named.__module__}:{named.__qualname__}"


def _fingerprint(dataset: Dataset) -> str:
    """Of all images and labels; images in files are known by the files' names and sizes."""
    digest = hashlib.blake2b(digest_size=8)
    for arrays in parts(dataset).values():
        for array in arrays:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.files.tobytes() if isinstance(array, ImageFiles) else np.ascontiguousarray(array))
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            continue
    return versions
