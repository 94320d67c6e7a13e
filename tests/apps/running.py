"""The app as a process of its own, and a page in it whose complaints are kept."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 240_000
"""Milliseconds: for machines that do much else at the same time; nothing is measured here."""


@contextlib.contextmanager
def running(*arguments):
    """Start the app, wait until it answers, and stop it as Ctrl-C does; yields (process, address)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.inspector", *map(str, arguments), "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
        except OSError:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.2)
    yield process, f"http://127.0.0.1:{port}/"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    with process.stdout:
        said = process.stdout.read()
    assert "Traceback" not in said
    assert "artefact" not in said


@contextlib.contextmanager
def watched_page(chromium, address, *expected, **options):
    """Open a page; what it complains about, or asks of others, fails at the end, but for the ``expected`` words."""
    complaints = []
    context = chromium.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url} {request.failure}"))
    page.on("request", lambda request: complaints.append(f"asked: {request.url}"))
    page.goto(address)
    yield page
    context.close()
    own = tuple(f"asked: {start}" for start in (address.removesuffix("lab"), "data:", "blob:"))
    real = [
        complaint
        for complaint in complaints
        # Gradio ends its stream of events by leaving it.
        if not ("queue/data" in complaint and "ERR_ABORTED" in complaint)
        and not any(words in complaint for words in (*expected, "GPU stall due to ReadPixels"))
        and not complaint.startswith(own)
    ]
    assert not real, "\n".join(real)


def find_violations(page):
    """Return what axe holds against a page."""
    import pytest

    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed.")
    report = axe.Axe().run(page)
    return [
        f"{found['id']}: {node['html'][:160]}" for found in report.response["violations"] for node in found["nodes"]
    ]


def worker_pids(parent):
    """Return the processes that compute: children of the server with the run's model in them."""
    children = set()
    for path in Path("/proc").glob(f"{parent}/task/*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            children |= set(path.read_text().split())
    return [int(pid) for pid in children if "spawn_main" in _command_of(pid)]


def _command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has just ended
        return ""
