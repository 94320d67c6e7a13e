"""rsd_med: clean medical images from corrupted scans alone, by Restoration Score Distillation."""

__version__ = "0.1.0"
