"""Trials: what one is, the loop over them, where they run, and the record of what they found."""
