"""The computing side: the queue, the worker process and what it can do, and the child that opens uploads."""
