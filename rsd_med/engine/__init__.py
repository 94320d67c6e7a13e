"""The training loop and what it leaves behind: run folder, checkpoints, averages, logs, figures."""
