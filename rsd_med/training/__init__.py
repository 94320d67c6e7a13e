"""Training: the loop, its two stages, optimiser, EMA, microbatches, readers."""
