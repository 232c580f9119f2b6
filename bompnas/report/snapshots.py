"""The report of a run while it goes on, in a small share of the time."""

import logging
import time
from pathlib import Path

from bompnas import report

SHARE = 0.02
"""Of a run's time that drawing may take."""

_FIRST = 60.0  # [s] before a run has anything to show

_log = logging.getLogger(__name__)


class Snapshots:
    """Draws the report anew now and then; what goes wrong with that is no reason to end a run.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._due = time.monotonic() + _FIRST
        self._failed = False

    def refresh(self) -> None:
        """Draws it if the last time is long enough ago."""
        begin = time.monotonic()
        if begin < self._due:
            return
        try:
            report.write(self._folder, going_on=True, pictures=False)
        except Exception as error:
            if not self._failed:
                _log.warning("%s: could not be drawn (%s: %s)", report.PAGE, type(error).__name__, error)
                _log.debug("", exc_info=True)
            self._failed = True
        end = time.monotonic()
        self._due = end + (end - begin) / SHARE
