"""A run's record, the only truth about it, and the tables that are views of it."""

from bompnas.trials.record.entries import Export, Final, Incident, StoredProposal
from bompnas.trials.record.file import DamagedError, OtherFormatError, create
from bompnas.trials.record.record import Record

__all__ = ["DamagedError", "Export", "Final", "Incident", "OtherFormatError", "Record", "StoredProposal", "create"]
