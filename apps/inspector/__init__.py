"""The browser app: look at a run's samples, reconstruct a scan, follow training, compare methods blind."""
