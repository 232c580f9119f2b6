"""Draws the report of a run, or of several together: `python -m bompnas.report DIR...`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bompnas import report
from bompnas.errors import InputError
from bompnas.report import comparison
from bompnas.trials.folder import driver


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the report and says where it is.

    Returns:
        The exit status: 0, or 2 when a folder holds no run or the runs cannot be compared.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bompnas.report",
        description="Draw the report of a run, finished or still going on: report.html in its folder. Of several runs, "
        "draw one page that compares them: comparison.html.",
    )
    parser.add_argument("folders", type=Path, metavar="DIR", nargs="+", help="folder of a run, such as runs/digits")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the comparison; the current one if not given"
    )
    options = parser.parse_args(arguments)
    try:
        if len(options.folders) > 1:
            path = comparison.write(options.folders, options.out or Path())
        elif options.out is None:
            path = report.write(options.folders[0], going_on=driver(options.folders[0]) is not None)
        else:
            raise InputError("--out is for several runs; the report of one goes into its own folder")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
