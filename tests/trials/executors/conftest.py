import importlib
from pathlib import Path

import pytest


@pytest.fixture
def pool_tasks(monkeypatch):
    """The module `pool_tasks` of this folder, which workers can import by name, as an installed one."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("pool_tasks")
