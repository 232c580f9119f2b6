"""Measures search quality and speed against the tuners that users could pick instead.

    pip install -r benchmarks/requirements.txt
    python benchmarks/search_quality.py run                        # all methods on the synthetic instances 0 to 19
    python benchmarks/search_quality.py run --shard 1/2            # half of them, beside a second process with 2/2
    python benchmarks/search_quality.py table FILE --metric val_accuracy --cost size_bits
    python benchmarks/search_quality.py speed                      # seconds per proposal, memory
    python benchmarks/search_quality.py optimum                    # best score of every instance, for the regret
    python benchmarks/search_quality.py check                      # the accelerated KerasTuner against the original
    python benchmarks/search_quality.py report                     # results/search_quality.md and its pictures
    python benchmarks/search_quality.py tune --methods bomp        # development instances; prints, stores nothing

Every study is a JSON line in `benchmarks/results/search_quality/<suite>/<method>.jsonl`. Studies that are there are not
made again: an interrupted command is simply started once more, and a method is measured anew by deleting its file. The
synthetic family is described in `benchmarks/quality/instances.py`; a table is a CSV file of real trainings, see
`benchmarks/tables.py`.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

from quality import optimum, ours, report, speed, study, summary, task  # noqa: E402
from quality.instances import DEVELOPMENT, REPORTED, Instance  # noqa: E402
from quality.peers import PEERS  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
CHECKED = (12, 30, 60, 99)
SPEED_LENGTHS = (100, 500, 1000)


def main() -> None:
    """Carries out the command."""
    warnings.simplefilter("ignore")  # scikit-learn's on KerasTuner's fits, Optuna's on its experimental options
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    commands = parser.add_subparsers(required=True)

    command = _studies(commands, "run", _run, "studies of the synthetic family", REPORTED, trials=100)
    command.add_argument("--shard", type=_shard, default=(1, 1), help="k/n: every n-th study, from the k-th")

    command = _studies(commands, "table", _table, "studies of a table of real trainings", REPORTED, trials=40)
    command.add_argument("file", type=Path, help="CSV file with columns gene:<name>")
    command.add_argument("--metric", default="val_accuracy", help="column that is measured; more is better")
    command.add_argument("--cost", default="size_bits", help="column that is known beforehand; less is better")
    command.add_argument("--shard", type=_shard, default=(1, 1), help="k/n: every n-th study, from the k-th")

    _studies(commands, "tune", _tune, "development instances; prints, stores nothing", DEVELOPMENT, trials=100)

    command = commands.add_parser("check", help="the accelerated KerasTuner against the original")
    command.add_argument("--instances", type=_numbers, default=[0, 1, 2, 3, 4])
    command.add_argument("--lengths", type=_numbers, default=list(CHECKED), help="of the record")
    command.set_defaults(action=_check)

    command = commands.add_parser("optimum", help="best true score of the reported instances")
    command.add_argument("--instances", type=_numbers, default=list(REPORTED))
    command.set_defaults(action=_optimum)

    command = commands.add_parser("speed", help="seconds per proposal and memory, beside KerasTuner's original")
    command.add_argument("--methods", type=_methods, default=None, help="default bomp")
    command.add_argument("--lengths", type=_numbers, default=list(SPEED_LENGTHS), help="of the record")
    command.add_argument("--limit", type=float, default=900.0, help="for KerasTuner at each length [s]")
    command.set_defaults(action=_speed)

    command = commands.add_parser("report", help="results/search_quality.md and its pictures")
    command.set_defaults(action=_report)

    options = parser.parse_args()
    options.action(options)


def _run(options: argparse.Namespace) -> None:
    folder, suite = options.results / report.FOLDER, task.SYNTHETIC
    study.run(folder, options.methods, options.instances, task.synthetic, suite, options.trials, options.shard)


def _table(options: argparse.Namespace) -> None:
    task_of = task.from_table(options.file, options.metric, options.cost)
    folder, suite = options.results / report.FOLDER, task_of(0).suite
    study.run(folder, options.methods, options.instances, task_of, suite, options.trials, options.shard)


def _tune(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        study.run(Path(folder), options.methods, options.instances, task.synthetic, task.SYNTHETIC, options.trials)
        found = summary.curves(study.read(Path(folder)), task.SYNTHETIC, options.trials)
    print("\n".join(summary.results_table(found, report.checkpoints(options.trials))))


def _check(options: argparse.Namespace) -> None:
    from quality import check  # loads KerasTuner

    rows = []
    for instance in options.instances:
        for comparison in check.compare(task.synthetic(instance), tuple(options.lengths)):
            rows.append(
                {
                    "instance": instance,
                    "completed": comparison.completed,
                    "different_genes": comparison.different_genes,
                    "seconds": round(comparison.seconds, 3),
                    "original_seconds": round(comparison.original_seconds, 2),
                }
            )
            print(rows[-1], flush=True)
    _store(options, "check", rows)


def _optimum(options: argparse.Namespace) -> None:
    path = options.results / report.FOLDER / "optimum.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for instance in options.instances:
        if str(instance) not in found:
            found[str(instance)] = round(optimum.optimum(Instance(instance)), 6)
            print(instance, found[str(instance)], flush=True)
            _store(options, "optimum", found)


def _speed(options: argparse.Namespace) -> None:
    instance, rows = DEVELOPMENT[0], []
    for method in options.methods or _methods("bomp"):
        rows.append(speed.measure(method, instance, options.lengths))
        print({key: value for key, value in rows[-1].items() if key != "seconds"}, flush=True)
        _store(options, "speed", {"ours": rows, "keras_tuner": {}})
    original = {}
    for length in options.lengths:
        proposals = 3 if length <= 100 else 1
        seconds = speed.measure_original(instance, length, proposals, options.limit)
        original[str(length)] = {"seconds": seconds, "proposals": proposals, "limit": options.limit}
        print("KerasTuner's original", length, seconds, flush=True)
        _store(options, "speed", {"ours": rows, "keras_tuner": original})


def _report(options: argparse.Namespace) -> None:
    report.write(options.results)


def _store(options: argparse.Namespace, name: str, data: object) -> None:
    path = options.results / report.FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _studies(
    commands: argparse._SubParsersAction, name: str, action: object, text: str, instances: tuple[int, ...], trials: int
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text)
    command.add_argument("--methods", type=_methods, default=None, help="names with commas; default all")
    command.add_argument("--instances", type=_numbers, default=list(instances), help="such as 0-4,7")
    command.add_argument("--trials", type=int, default=trials, help=f"default {trials}")
    command.set_defaults(action=lambda options: action(_with_methods(options)))
    return command


def _with_methods(options: argparse.Namespace) -> argparse.Namespace:
    if options.methods is None:
        options.methods = _methods("all")
    return options


def _methods(text: str) -> list[study.Method]:
    known = {name: study.Method(name, start) for name, start in PEERS.items()} | ours.methods()
    names = [name for name in known if name != "keras_tuner_original"] if text == "all" else text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} found, expected names among {', '.join(known)}")
    return [known[name] for name in names]


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _shard(text: str) -> tuple[int, int]:
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"{text!r} found, expected k/n with k from 1 to n")
    return number, count


if __name__ == "__main__":
    main()
