"""Draws the report of a run: `python -m bompnas.report DIR`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bompnas import report
from bompnas.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the report and says where it is.

    Returns:
        The exit status: 0, or 2 when the folder holds no run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bompnas.report", description="Draw the report of a run, finished or still going on."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the run, such as runs/digits")
    folder = parser.parse_args(arguments).folder
    try:
        path = report.write(folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
