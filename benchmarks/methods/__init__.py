"""Tasks × methods on the same data, backbone and budget, in one table."""
