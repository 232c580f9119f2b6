"""Adapters to other packages, which are loaded only when they are asked for.

The search engine inside KerasTuner and AutoKeras, and trials on a Ray cluster.
"""
