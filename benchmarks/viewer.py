"""Paging a volume of 200 slices in the viewer, in Chromium: from a key being pressed to the slice being drawn."""

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Figure, conclude, find_chromium

SLICES, SIDE, PANES = 200, 320, 2

# In the page: press a key, wait for the frame in which every picture shows the slice, tell how long that took.
PAGE_THROUGH = """
async ([keys]) => {
  const times = [];
  const stage = document.querySelector(".stage");
  const shown = () => [...document.querySelectorAll(".pane")].map((pane) => Number(pane.dataset.shown));
  for (const [key, wanted] of keys) {
    const begun = performance.now();
    stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    while (shown().some((number) => number !== wanted)) await new Promise(requestAnimationFrame);
    times.push(performance.now() - begun);
  }
  return times;
}
"""


def serve(folder: Path) -> tuple[str, list[Any], Any]:
    """Serve two volumes with the viewer's own routes; return the address, the panes and the server."""
    import uvicorn
    from fastapi import FastAPI

    from apps.inspector.viewer.routes import mount_viewer
    from apps.inspector.web.session import SessionStore
    from apps.inspector.web.stored import add_volume

    session = SessionStore(folder).create()
    generator = np.random.default_rng(0)
    volumes = [generator.random((SLICES, SIDE, SIDE), dtype=np.float32) for _ in range(PANES)]
    panes = [
        add_volume(session, volume, title=f"Volume {i}", unit="", window=(0, 1)) for i, volume in enumerate(volumes)
    ]
    app = FastAPI()
    mount_viewer(app)

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope["inspector.session"] = session
        await app(scope, receive, send)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(known, host="127.0.0.1", port=port, log_level="error", ws="none"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{port}", panes, server


def main() -> int:
    """Page through, forwards slice by slice and then in leaps; print and record."""
    argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__).parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("skipped: Playwright is not installed")
        return 0
    program = find_chromium()
    if program is None:
        print("skipped: no Chromium is installed")
        return 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        address, panes, server = serve(Path(folder))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        begun = time.perf_counter()
        page.goto(f"{address}/viewer?panes=" + ",".join(pane.artefact for pane in panes))
        page.wait_for_function(f"() => document.querySelectorAll('.pane[data-shown]').length === {PANES}")
        first = time.perf_counter() - begun
        home = page.evaluate(PAGE_THROUGH, [[["Home", 1]]])
        forwards = page.evaluate(PAGE_THROUGH, [[["ArrowDown", number] for number in range(2, SLICES + 1)]])
        leaps = page.evaluate(PAGE_THROUGH, [[["PageUp", number] for number in range(SLICES - 10, 0, -10)]])
        browser.close()
        server.should_exit = True
    figures = [
        Figure("median milliseconds a slice, one after another", statistics.median(forwards), 50.0),
        Figure("95th percentile of the same", float(np.percentile(forwards, 95))),
        Figure("median milliseconds for leaps of ten slices", statistics.median([*home, *leaps])),
        Figure("seconds to the first picture", first),
    ]
    details = {"slices": SLICES, "side": SIDE, "panes": PANES, "milliseconds": [round(value, 2) for value in forwards]}
    return conclude("viewer", figures, details)


if __name__ == "__main__":
    sys.exit(main())
