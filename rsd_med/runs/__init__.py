"""What a run leaves on the disk: its folder, checkpoints, logs, exports; one writer at a time."""
