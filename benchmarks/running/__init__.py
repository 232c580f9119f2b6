"""What whole runs take of a machine; parts of `throughput.py`."""
