"""Experiment files: their schema, reading them, and what is wrong with them in the user's words."""

from bompnas.experiment.schema import Experiment, load, parse

__all__ = ["Experiment", "load", "parse"]
