"""Parts of the program `export.py`."""
