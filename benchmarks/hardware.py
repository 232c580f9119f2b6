"""Shows what cost models are good for: policies made for a device, and searches within a budget.

    python benchmarks/hardware.py policies   # trains one network and measures 6,912 policies of it; minutes
    python benchmarks/hardware.py budget     # searches the table of real trainings, 30 times each; a minute
    python benchmarks/hardware.py report

Figures go to `benchmarks/results/hardware/`, `report` makes `benchmarks/results/hardware_search.md` and its picture of
them. `devices/policies.py` and `devices/budget.py` say what is measured. With `--runs LIMITED FREE` the report compares
two finished runs of `experiments/digits_bitfusion.yaml` too, the second one without its limit.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")  # the results depend on the threads
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

from devices import budget, policies, report  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
SEEDS = range(30)


def main() -> None:
    """Carries out the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("policies", "budget", "report"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--runs", type=Path, nargs=2, metavar=("LIMITED", "FREE"), help="finished runs, for report")
    options = parser.parse_args()
    folder = options.results / "hardware"
    folder.mkdir(parents=True, exist_ok=True)
    if options.command == "policies":
        policies.make(folder / "policies.csv")
        report.check(folder)
    elif options.command == "budget":
        budget.run(folder / "budget.jsonl", SEEDS)
    else:
        if options.runs:
            found = [budget.of_run(path) for path in options.runs]
            (folder / "runs.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
        report.write(options.results)


if __name__ == "__main__":
    main()
