"""Search spaces: what may be chosen, and the networks that choices decode to."""
