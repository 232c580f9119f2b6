"""Lifelong learning with HQNAS: what is measured, and the page of results."""
