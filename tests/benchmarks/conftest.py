import sys
from pathlib import Path

# The benchmarks' programs run from their own folder and import each other by plain names.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
