"""Measures lifelong learning with HQNAS: searches that go on from a checkpoint beside searches from scratch.

    python benchmarks/hqnas_lifelong.py
    python benchmarks/hqnas_lifelong.py --report              # writes the page anew, measures nothing
    python benchmarks/hqnas_lifelong.py --quick --work /tmp/lifelong/raw   # a smoke run

`experiments/hqnas_lifelong_digits.yaml`, supernets alone, without final training: the digits 0 to 4 first, then one
digit more at a time, each time from the checkpoint before; and from scratch on the same digits. Several seeds, each
with a split of its own.

Measurements go to `<work>/searches.jsonl`, which is continued where it exists; the page and its picture to the folder
above it. A quarter of an hour on one core.
"""

import argparse
import tempfile
from pathlib import Path

from lifelong import page, study
from lifelong.study import Plan
from speed.study import Rows

RESULTS = Path(__file__).resolve().parent / "results"
QUICK = Plan(classes=(2, 3, 4), epochs=4, warm_up=1, update=2, overrides=("data.train_images=300",))


def main() -> None:
    """Measures what the command line asks for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="repetitions")
    parser.add_argument("--work", type=Path, default=RESULTS / "hqnas_lifelong", help="folder of the measurements")
    parser.add_argument("--quick", action="store_true", help="one seed, few classes and epochs")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args()
    if options.quick and options.work == RESULTS / "hqnas_lifelong":
        options.work = Path(tempfile.mkdtemp()) / "hqnas_lifelong"
    rows = Rows(options.work / "searches.jsonl")
    if not options.report:
        study.measure(QUICK if options.quick else Plan(), 1 if options.quick else options.seeds, rows)
    print(f"written: {page.write(options.work.parent / 'hqnas_lifelong.md', list(rows))}")


if __name__ == "__main__":
    main()
