import subprocess
import sys

import pytest

from bompnas.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_names_a_schema_of_that_name_and_a_search(name):
    settings = METHODS[name].load_settings()
    assert settings.model_validate({"name": name, "trials": 3}).name == name
    assert callable(METHODS[name].load_search())


def test_the_table_imports_neither_framework_nor_methods():
    program = "import sys, bompnas.methods; print(sorted({'keras', 'tensorflow', 'bompnas.search'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
