"""Tasks that need no model, for tests of the queue; the worker process imports this by name."""

import os
import time

from apps.inspector.compute.worker import serve


def run_toy(pipe) -> None:
    serve(pipe, {"add": add, "sleep": sleep, "stubborn": stubborn, "die": die, "fail": fail, "large": large})


def add(progress, a, b):
    return a + b


def sleep(progress, steps):
    for step in range(steps):
        time.sleep(0.02)
        progress(step / steps)
    return os.getpid()


def stubborn(progress):
    time.sleep(120)


def die(progress):
    os.kill(os.getpid(), 9)


def fail(progress):
    raise ValueError("/home/somebody/secret")


def large(progress):
    return bytes(8 << 20)
