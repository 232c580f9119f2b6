"""Reads quantized Keras models from files."""

from pathlib import Path

import keras

import bompnas.networks  # noqa: F401 - registers the quantized layers
from bompnas.errors import InputError


def load(path: str | Path) -> keras.Model:
    """The model of a `.keras` file.

    Raises:
        InputError: The file is missing, damaged or no Keras model, or has layers that are not registered.
    """
    try:
        return keras.models.load_model(path)
    except Exception as error:  # Keras raises what its parts raise
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a Keras model ({type(error).__name__}: {reason})") from error
