"""Trials: what one is, the loop over them, final training and delivery; below them what runs, keeps and shows them."""
