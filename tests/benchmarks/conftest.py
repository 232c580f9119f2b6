import itertools
import sys
from pathlib import Path

import pytest

# The benchmarks' programs run from their own folder and import each other by plain names.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(scope="session")
def conditional_table(tmp_path_factory):
    """A complete table of ordered, categorical and conditional genes: 140 points."""
    path = tmp_path_factory.mktemp("tables") / "conditional.csv"
    lines = ["gene:kind,gene:units,gene:kernel,gene:rate,gene:depth,val_accuracy,size_bits"]
    branches = [("dense", units, None) for units in (8, 16, 32, 64)] + [("conv", None, size) for size in (1, 3, 5)]
    for (kind, units, kernel), rate, depth in itertools.product(branches, (0.1, 0.2, 0.3, 0.5, 0.9), (1, 2, 3, 4)):
        fit = {8: 0.1, 16: 0.3, 32: 0.2, 64: 0.15}[units] if units else 0.06 * kernel
        accuracy = 0.5 + fit - (rate - 0.3) ** 2 - 0.02 * (depth - 3) ** 2
        size = 1000 * depth * (units or 4 * kernel)
        lines.append(f"{kind},{units or ''},{kernel or ''},{rate},{depth},{accuracy:.6f},{size}")
    path.write_text("\n".join(lines) + "\n")
    return path
