import importlib.util
import math
import os
import time
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import yaml

from bompnas.hardware.counts import counts
from bompnas.objectives import Constraint
from bompnas.problem import Problem
from bompnas.space.head import DenseHead
from bompnas.space.loader import load
from bompnas.space.mobilenetv2 import Block, MobileNetV2Space, Stem
from bompnas.space.space import Choices

# Test processes run side by side: one TensorFlow thread each, set before anything imports it.
for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("bompnas", deadline=None)
hypothesis.settings.load_profile("bompnas")

SPACES = Path(__file__).parents[1] / "search_spaces"


@pytest.fixture(scope="session")
def cifar10():
    return load(SPACES / "mobilenetv2_cifar10.yaml", head=DenseHead(10))


@pytest.fixture(scope="session")
def cifar100():
    return load(SPACES / "mobilenetv2_cifar100.yaml", head=DenseHead(100))


@pytest.fixture(scope="session")
def digits():
    return load(SPACES / "mobilenetv2_digits.yaml", head=DenseHead(10))


@pytest.fixture(scope="session")
def random_space():
    """A function from a seed to a small random space, every kind of parameter fixed or searched."""

    def make(seed):
        generator = np.random.default_rng(seed)

        def choices(pool):
            values = generator.choice(pool, size=generator.integers(1, min(4, len(pool)) + 1), replace=False).tolist()
            return Choices(tuple(values), values[generator.integers(len(values))])

        def block():
            repetitions = choices([0, 1, 2, 3])
            if max(repetitions.values) == 0:
                repetitions = Choices((1,), 1)
            return Block(
                channels=int(generator.integers(1, 20)),
                stride=int(generator.integers(1, 3)),
                kernel=choices([1, 2, 3, 5]),
                width=choices([0.1, 0.4, 0.5, 1.0, 1.5]),
                expansion=choices([1, 2, 3, 6]),
                repetitions=repetitions,
            )

        return MobileNetV2Space(
            name=f"random{seed}",
            input_size=int(generator.integers(1, 12)),
            input_channels=int(generator.integers(1, 4)),
            head=DenseHead(int(generator.integers(1, 5))),
            stem=Stem(int(generator.integers(1, 6)), 3, int(generator.integers(1, 3))),
            blocks=tuple(block() for _ in range(generator.integers(1, 4))),
            last_filters=choices([4, 8, 16]),
            bits=choices([2, 4, 6, 8]),
            divisor=int(generator.integers(1, 3)),
            shared_bits=bool(generator.integers(2)),
            own_bits={
                part: choices([3, 5, 8, 16]) for part in ("stem", "last_conv", "dense") if generator.random() < 0.3
            },
        )

    return make


@pytest.fixture(scope="session")
def problem_of():
    """A function from a space and the size that it may have [kB] to a problem."""

    def make(space, size_kb=math.inf):
        constraints = () if math.isinf(size_kb) else (Constraint("size_kb", size_kb),)
        return Problem(space, counts, (), constraints)

    return make


@pytest.fixture
def clock(monkeypatch):
    """Lets the time of clocks be set."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture(scope="session")
def supernet_runs():
    """The module `supernet_runs` of this folder, which writes records of searches of supernets."""
    place = importlib.util.spec_from_file_location("supernet_runs", Path(__file__).with_name("supernet_runs.py"))
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def hqnas_digits():
    return load(SPACES / "hqnas_digits.yaml", head=DenseHead(10))


@pytest.fixture
def experiment(tmp_path):
    """Path of a small experiment file."""
    document = {
        "name": "small",
        "data": {"dataset": "digits"},
        "space": str(SPACES / "mobilenetv2_digits.yaml"),
        "method": {"name": "bomp", "trials": 6, "initial": 3},
        "training": {"epochs": 1},
        "final": {"epochs": 1, "qaft_epochs": 1},
        "constraints": {"size_kb": 16},
        "export": {"format": "none"},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
