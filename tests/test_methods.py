import subprocess
import sys

import pytest

from bompnas.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_names_a_schema_of_that_name_and_its_functions(name):
    entry = METHODS[name]
    asked = {"trials": 3} if entry.trials else {"accuracy_threshold": 0.9, "cost_threshold": 1.0}
    assert entry.load_settings().model_validate({"name": name, **asked}).name == name
    assert callable(entry.load_search())
    assert callable(entry.load_check())
    assert callable(entry.load_weights())


def test_the_table_imports_neither_framework_nor_methods():
    program = "import sys, bompnas.methods; print(sorted({'keras', 'tensorflow', 'bompnas.search'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
