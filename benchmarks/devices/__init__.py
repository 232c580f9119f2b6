"""Parts of `benchmarks/hardware.py`: policies for devices, and searches within a budget."""
