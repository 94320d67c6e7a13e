"""The browser app: first picture, upload to picture, a grid, twenty users at once. ``python -m benchmarks.app``.

Everything is asked of a real server on this machine, over the loopback alone. The waiting times are those of two cores;
on a machine that does something else at the same time they measure that. Options: ``--run RUN`` (default: the demo
model), ``--users``, ``--seconds``, ``--part browser`` or ``--part users`` for one part alone.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Figure, conclude, find_chromium

FIRST_SECONDS, WARM_SECONDS, GRID_SECONDS = 60.0, 3.0, 2.0
UPLOAD_SECONDS = {"NIfTI, 181 x 217 x 60": 1.0, "DICOM, one slice of 256 x 256": 1.0, "raw, 8 coils, 230 x 180": 3.0}
"""From the choice of a file to its picture on the screen."""
GROWTH_MIB = 300.0
UNFAIR = 1.5
"""Most requests that one user gets done, in multiples of the fewest."""
SEEDS = 12
SAMPLES, MOST_SAMPLES = 16, 64
"""Of a grid: what the page draws unless more are asked for, and the most."""


@dataclass
class User:
    """What one user met.

    Attributes
    ----------
    seconds
        Of each grid.
    pictures
        Fingerprints of the pictures by their seed.
    problems
        A sentence for everything that went wrong.
    """

    seconds: list[float] = field(default_factory=list)
    pictures: dict[int, set[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def start(run: Path | None, port: int) -> subprocess.Popen[bytes]:
    """Start the server."""
    command = [sys.executable, "-m", "apps.inspector", *([] if run is None else [str(run)]), "--port", str(port)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def wait_for(port: int, seconds: float) -> None:
    """Wait until the server answers."""
    import httpx

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("the server did not start")


def draw(client: Any, seed: int, count: int = SAMPLES) -> tuple[str, bytes]:
    """Ask for a grid as the page does; return the status line and the picture."""
    config = client.get("/config").json()
    button = next(one["id"] for one in config["components"] if one["props"].get("value") == "Draw")
    number = next(one["id"] for one in config["dependencies"] if [button, "click"] in one["targets"])
    page = secrets.token_hex(6)
    asked = {"data": [seed, count, 1.0, "Magnitude"], "fn_index": number, "session_hash": page}
    client.post("/gradio_api/queue/join", json=asked).raise_for_status()
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": page}) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data:"):
                continue
            message = json.loads(line[5:])
            if message["msg"] == "process_completed":
                status, sheet = message["output"]["data"]
                address = re.search(r"/artefact/[\w-]+/file", sheet if isinstance(sheet, str) else "")
                if address is None:
                    return str(status), b""
                answer = client.get(address[0])
                answer.raise_for_status()
                return status, answer.content
    return "the answer never came", b""


def visit(base: str, user: User, seconds: float, number: int) -> None:
    """Be one user for a while."""
    import httpx

    with httpx.Client(base_url=base, timeout=300) as client:
        client.get("/").raise_for_status()
        until, turn = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            seed = (7 * number + turn) % SEEDS
            turn += 1
            begun = time.monotonic()
            try:
                status, picture = draw(client, seed)
            except httpx.HTTPError as error:
                user.problems.append(f"{type(error).__name__}: {error}")
                continue
            user.seconds.append(time.monotonic() - begun)
            if f"Seed {seed}," not in status or not picture:
                user.problems.append(f"seed {seed}: {status[:200]}")
            user.pictures.setdefault(seed, set()).add(hashlib.sha256(picture).hexdigest())


def crowd(base: str, count: int, seconds: float) -> list[User]:
    """Let some users work at once; return what they met."""
    users = [User() for _ in range(count)]
    threads = [threading.Thread(target=visit, args=(base, user, seconds, number)) for number, user in enumerate(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return users


def mixed_up(users: list[User]) -> int:
    """Count seeds that gave more than one picture, and pictures that more than one seed gave."""
    seen: dict[int, set[str]] = {}
    for user in users:
        for seed, pictures in user.pictures.items():
            seen.setdefault(seed, set()).update(pictures)
    several = sum(len(pictures) > 1 for pictures in seen.values())
    return several + sum(map(len, seen.values())) - len(set().union(*seen.values())) if seen else 0


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process and all its descendants, in MiB."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            tasks = os.listdir(f"/proc/{one}/task")
            for task in tasks:
                waiting += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except OSError:
            continue
        found = re.search(r"VmRSS:\s+(\d+)", status)
        total += int(found[1]) / 1024 if found else 0.0
    return total


def write_scans(folder: Path) -> dict[str, Path]:
    """Write a scan of each kind whose upload is measured: an ellipse with some grain."""
    import h5py
    import nibabel

    from rsd_med.data.scan import Geometry
    from rsd_med.data.writing.dicom import write_dicom

    draws = np.random.default_rng(0)

    def ellipse(*shape: int) -> np.ndarray:
        grid = np.meshgrid(*(np.linspace(-1.2, 1.2, side) for side in shape), indexing="ij")
        inside = sum(axis**2 for axis in grid) < 1
        return (inside * (400 + 40 * draws.random(shape))).astype(np.float32)

    volume, raw = folder / "volume.nii.gz", folder / "raw.h5"
    nibabel.save(nibabel.Nifti1Image(ellipse(181, 217, 60), np.eye(4)), volume)
    (slice_file,) = write_dicom(
        folder / "dicom", ellipse(256, 256)[None], Geometry(np.eye(4), (1.0, 1.0, 1.0)), (0.0, 440.0), "benchmark"
    )
    image = ellipse(230, 180)
    row, column = np.mgrid[-1:1:230j, -1:1:180j]
    angles = np.arange(8) * np.pi / 4
    coils = [image * np.exp(-((row - np.sin(a)) ** 2) - (column - np.cos(a)) ** 2 + 1j * a) for a in angles]
    shifted = np.fft.ifftshift(np.array(coils), axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))
    with h5py.File(raw, "w") as file:
        file["kspace"] = (kspace + draws.normal(size=kspace.shape)).astype(np.complex64)[None]
    return dict(zip(UPLOAD_SECONDS, (volume, Path(slice_file), raw), strict=True))


def uploads_to_pictures(page: Any, scans: dict[str, Path]) -> dict[str, float]:
    """Return the seconds from choosing a file to its picture, the median of three, by kind of scan."""
    shown = {}
    for kind, path in scans.items():
        seconds = []
        for _ in range(3):
            begun = time.monotonic()
            page.set_input_files("#scan-file", path)
            page.locator("#identity", has_text=path.name).wait_for()
            page.locator("#viewer .pane[data-shown]").first.wait_for()
            seconds.append(time.monotonic() - begun)
            page.goto(page.url.split("?")[0])  # the next is chosen on a page without it
            page.locator("#viewer .pane[data-shown]").first.wait_for()
        shown[kind] = statistics.median(seconds)
    return shown


def in_a_browser(base: str, scans: dict[str, Path]) -> tuple[float, float, dict[str, float]] | None:
    """Return seconds as a person meets them in Chromium; None without one.

    From opening the page to its first picture, for the first visitor and for later ones; and from choosing a file to
    its picture.
    """
    program = find_chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        print("skipped: without Chromium and Playwright nobody sees a picture")
        return None
    seconds = []
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        for _ in range(3):
            page = browser.new_context().new_page()
            begun = time.monotonic()
            page.goto(base)
            page.wait_for_selector(".pane[data-shown]", timeout=300_000)
            seconds.append(time.monotonic() - begun)
            if len(seconds) < 3:
                page.context.close()
        page.set_default_timeout(300_000)
        uploads = uploads_to_pictures(page, scans)
        browser.close()
    return seconds[0], min(seconds[1:]), uploads


def first_and_uploads(base: str, listening: float) -> list[Figure]:
    """Measure what one person waits for; nothing without Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        shown = in_a_browser(base, write_scans(Path(folder)))
    if shown is None:
        return []
    uploads = shown[2].items()
    return [
        Figure("server start to first picture, s", listening + shown[0], FIRST_SECONDS),
        Figure("page to first picture, warm, s", shown[1], WARM_SECONDS),
        *(Figure(f"upload to picture, s: {kind}", seconds, UPLOAD_SECONDS[kind]) for kind, seconds in uploads),
    ]


def grids(base: str) -> list[Figure]:
    """Measure how long a grid of samples takes: the usual one and the largest."""
    import httpx

    figures = []
    with httpx.Client(base_url=base, timeout=600) as client:
        client.get("/").raise_for_status()
        for count in (SAMPLES, MOST_SAMPLES):
            seconds = []
            for seed in range(100, 105):
                asked = time.monotonic()
                status, _ = draw(client, seed, count)
                seconds.append(time.monotonic() - asked)
                assert f"Seed {seed}," in status, status
            figures.append(Figure(f"grid of {count} samples, s, median", statistics.median(seconds), GRID_SECONDS))
    return figures


def crowd_figures(base: str, pid: int, count: int, seconds: float) -> tuple[list[Figure], list[User]]:
    """Let many work at once; return figures and what each met."""
    crowd(base, count, min(30.0, seconds / 4))  # what is made once is made before memory is read
    before = memory_mib(pid)
    users = crowd(base, count, seconds)
    after = memory_mib(pid)
    done = [len(user.seconds) for user in users]
    every = sorted(second for user in users for second in user.seconds)
    named = f"{count} users"
    return [
        Figure(f"{named}: requests that failed", sum(len(user.problems) for user in users), 0),
        Figure(f"{named}: results mixed up", mixed_up(users), 0),
        Figure(f"{named}: most requests done / fewest", max(done) / max(1, min(done)), UNFAIR),
        Figure(f"{named}: memory grown, MiB", after - before, GROWTH_MIB),
        Figure(f"{named}: grids done", sum(done)),
        Figure(f"{named}: seconds a grid, median", statistics.median(every)),
        Figure(f"{named}: seconds a grid, longest", every[-1]),
        Figure("memory of all processes, MiB", after),
    ], users


def main(arguments: list[str] | None = None) -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.app")
    parser.add_argument("--run", type=Path, help="run folder (default: the demo model)")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--part", choices=("all", "browser", "users"), default="all", help="what to measure")
    options = parser.parse_args(arguments)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    begun = time.monotonic()
    server = start(options.run, port)
    figures: list[Figure] = []
    users: list[User] = []
    try:
        wait_for(port, 600)
        listening = time.monotonic() - begun
        if options.part != "users":
            figures += first_and_uploads(base, listening) + grids(base)
        if options.part != "browser":
            more, users = crowd_figures(base, server.pid, options.users, options.seconds)
            figures += more
    finally:
        server.terminate()
        server.wait(60)
    problems = [problem for user in users for problem in user.problems][:10]
    name = "app" if options.part == "all" else f"app-{options.part}"
    return conclude(name, figures, {"users": options.users, "seconds": options.seconds, "problems": problems})


if __name__ == "__main__":
    sys.exit(main())
