"""Seeing a run while it goes on: the terminal, the status of another terminal, TensorBoard."""
