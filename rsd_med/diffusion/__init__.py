"""Preconditioning, backbones, noise schedules and samplers, in EDM's parametrisation (arXiv 2206.00364)."""
