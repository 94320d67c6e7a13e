"""Corruption-aware objectives: what a denoiser can learn from measurements alone."""
