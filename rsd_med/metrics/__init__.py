"""Distances between sets of images, and fidelity of one image to another; every number names its extractor."""
