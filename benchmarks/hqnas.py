"""Measures HQNAS on digits: priors, inherited weights, other methods at equal time, devices, settings.

    python benchmarks/hqnas.py                     # all of it
    python benchmarks/hqnas.py prior method        # some of it
    python benchmarks/hqnas.py --report            # writes the page anew, measures nothing
    python benchmarks/hqnas.py --quick --work /tmp/hqnas/raw

All searches are of the space, device and settings of `experiments/hqnas_digits.yaml`, with several seeds:

- `prior`: accuracy first and latency first; the decided network trained from fresh and from inherited weights, for few
  epochs and for all.
- `baseline`: the space's seed network, a MobileNetV2, in float and in 8 bits.
- `method`: `random` and `bomp` with the trials of `experiments/digits.yaml`, for as long as a search of `prior` took.
- `device`, `tight`: searches for two devices, each decided network priced on both; with limits on the latency that half
  of random networks keep, and that a tenth of them does.
- `variant`: searches with other settings.

What is found is finally trained as the experiment says, all methods' networks alike. Every process has one thread.
Rows go to `<work>/searches.jsonl`, which is continued where it exists; the page and its pictures to the folder above
it. Run it on a quiet machine.
"""

import argparse
import os
import tempfile
from pathlib import Path

from speed.study import Rows
from supernets import cases, page, study

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Measures what the command line asks for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(study.PARTS)}; all if not given")
    parser.add_argument("--seeds", type=int, default=3, help="of every search")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes at the same time")
    parser.add_argument("--work", type=Path, default=RESULTS / "hqnas", help="folder of the measurements")
    parser.add_argument("--quick", action="store_true", help="one seed, much shortened")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(study.PARTS):
        parser.error(f"no part {', '.join(unknown)}; choose among {', '.join(study.PARTS)}")
    if options.quick and options.work == RESULTS / "hqnas":
        options.work = Path(tempfile.mkdtemp()) / "hqnas"
    rows = Rows(options.work / "searches.jsonl")
    if not options.report:
        case, seeds = (cases.QUICK, 1) if options.quick else (cases.WHOLE, options.seeds)
        study.measure(case, options.parts or study.PARTS, seeds, options.workers, rows)
    print(f"written: {page.write(options.work, list(rows))}")


if __name__ == "__main__":
    main()
