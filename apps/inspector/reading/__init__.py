"""The page that a reader works on: a scan, its slices, every method side by side, and what can be trusted of it."""
