"""What a file may claim and be believed: more means damage, axes in another order, or an attack on memory."""

MAX_SIDE = 4096
"""Longest side of an array or a picture."""

MAX_COILS = 128
"""Most receive coils."""
