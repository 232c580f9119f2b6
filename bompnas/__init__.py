"""Bayesian-optimization, quantization-aware neural architecture search on Keras."""

import logging

__version__ = "0.1.0"

logging.getLogger("bompnas").addHandler(logging.NullHandler())
