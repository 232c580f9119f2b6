"""Proposals from a record of candidates: pure functions of what has been tried."""
