"""Cost models: what a network costs, known before any training."""
