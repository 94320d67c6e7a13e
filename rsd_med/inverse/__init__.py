"""Inverse problems: from one slice's measurement to an image, its uncertainty, and whether it explains the data."""
