"""Times our trial beside the one that a user would write with KerasTuner, Keras' `fit` and QKeras.

    python benchmarks/trial_speed.py --data cifar10.npz
    python benchmarks/trial_speed.py --cases digits --threads 2 --seeds 5
    python benchmarks/trial_speed.py --report              # writes the page anew, measures nothing
    python benchmarks/trial_speed.py --quick --work /tmp/speed   # a smoke run

Both sides train the same networks on the same data, for the same epochs, in the same batches, with the same optimizer,
schedule and loss: those of the experiment file. `digits` is `experiments/digits.yaml` as it is; `cifar10` is
`experiments/cifar10.yaml` on 1,920 real images for 4 + 1 epochs, without augmentation on either side. The other side is
in `benchmarks/speed/baseline.py`; of several ways to set its `compile` and `fit` the fastest is taken. Each side runs
in a process of its own that lives for many trials, as a search's does; the sides take turns.

Also measured: further bit policies of one network, and the network's bare convolutions, which are the limit.

Measurements go to `<work>/<case>.jsonl`, which is continued where it exists; the page and its picture to the folder
above it. Run it on a quiet machine.
"""

import argparse
import tempfile
from pathlib import Path

from speed import cases, page, study

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Measures what the command line asks for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=tuple(cases.CASES), default=list(cases.CASES))
    parser.add_argument("--data", help="CIFAR-10 as an .npz file")
    parser.add_argument("--threads", nargs="+", type=int, default=[2], help="of each side; one study for each number")
    parser.add_argument("--seeds", type=int, default=5, help="trials of each network on each side")
    parser.add_argument("--untimed", type=int, default=0, help="further float trainings that only tell accuracies")
    parser.add_argument("--work", type=Path, default=RESULTS / "trial_speed", help="folder of the measurements")
    parser.add_argument("--quick", action="store_true", help="one network each, much shortened; needs --work")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args()
    if options.quick and options.work == RESULTS / "trial_speed":
        options.work = Path(tempfile.mkdtemp()) / "trial_speed"
    chosen = cases.QUICK if options.quick else cases.CASES
    skipped = {}
    for name in options.cases:
        if name == "cifar10" and options.data is None:
            skipped[name] = "no --data given"
        elif not options.report:
            data = None if name == "digits" else str(Path(options.data).resolve())
            rows = study.Rows(options.work / f"{name}.jsonl")
            seeds, variants = (1, study.VARIANTS[:1]) if options.quick else (options.seeds, study.VARIANTS)
            for threads in options.threads:
                study.measure(chosen[name], data, threads, seeds, rows, variants, options.untimed)
    written = page.write(options.work, chosen, skipped)
    print(f"written: {written}")


if __name__ == "__main__":
    main()
