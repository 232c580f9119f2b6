"""HQNAS measured: its priors, weights, devices and settings, and itself beside searches by trials."""
