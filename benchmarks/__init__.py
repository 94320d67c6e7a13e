"""Benchmarks: commands that measure, print one line a figure, and leave their results as JSON."""
