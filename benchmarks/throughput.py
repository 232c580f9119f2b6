"""Measures whole runs on this machine: trials a minute, memory over a hundred trials, README's first command.

    python benchmarks/throughput.py                # all of it
    python benchmarks/throughput.py speed memory   # some of it
    python benchmarks/throughput.py --report       # writes the page anew, measures nothing
    python benchmarks/throughput.py --quick --work /tmp/throughput/raw

`speed`: the same list of trials of `experiments/digits.yaml` through the pool with 1 worker of 2 threads, 1 worker of
1 thread, and 2 workers of 1 thread each, in turns. `memory`: a run of 100 short trials (2 + 1 epochs) with 2 workers,
whose processes' resident memory is looked at from outside. `whole`: `experiments/digits.yaml` as it is: 16 trials,
final training, export, report.

Measurements go to `<work>/<part>.json`; the page and its picture to the folder above it. Run it on a quiet machine.
"""

import argparse
import json
import tempfile
from pathlib import Path

import end_to_end
from running import memory, page, speed

RESULTS = Path(__file__).resolve().parent / "results"
PARTS = ("speed", "memory", "whole")


def main() -> None:
    """Measures what the command line asks for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if not given")
    parser.add_argument("--work", type=Path, default=RESULTS / "throughput", help="folder of the measurements")
    parser.add_argument("--quick", action="store_true", help="much shortened")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; choose among {', '.join(PARTS)}")
    if options.quick and options.work == RESULTS / "throughput":
        options.work = Path(tempfile.mkdtemp()) / "throughput"
    options.work.mkdir(parents=True, exist_ok=True)
    for part in () if options.report else options.parts or PARTS:
        measured = measure(part, options.quick)
        (options.work / f"{part}.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(f"written: {page.write(options.work)}")


def measure(part: str, quick: bool) -> dict:
    """One part's measurements."""
    if part == "speed":
        return speed.measure(trials=2, rounds=1, short=True) if quick else speed.measure(trials=12, rounds=3)
    if part == "memory":
        return memory.measure(trials=3 if quick else 100)
    seconds = []
    for seed in range(1 if quick else 3):
        shortened = ["method.trials=3", "method.initial=2", "training.epochs=2", "final.epochs=2"] if quick else []
        with tempfile.TemporaryDirectory() as temporary:
            seconds.append(end_to_end.run("digits", Path(temporary) / "run", [f"seed={seed}", *shortened]))
    return {"seconds": seconds}


if __name__ == "__main__":
    main()
