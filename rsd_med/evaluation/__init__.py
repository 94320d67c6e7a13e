"""How good a run's networks are: samples, distances, early stopping, audits."""
