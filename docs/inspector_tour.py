"""Take the pictures of the inspector's first five minutes: `python -m docs.inspector_tour` (Playwright, Chromium).

The scan is simulated: a knee of the phantom, 160 x 160, eight coils, five slices, written as fastMRI writes its own.
"""

import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import h5py
import numpy as np

from benchmarks.common import find_chromium
from rsd_med.data.knee_phantom import KneePhantomSettings

IMAGES = Path(__file__).parent / "images"
PORT, SLICES, SIZE = 7866, 5, 160
MINUTES = 10
"""Longest wait for one step, on a machine that does much else."""


def write_scan(path: Path) -> Path:
    """Write k-space of a few phantom slices."""
    source = KneePhantomSettings(num_images=SLICES, size=SIZE, coils=8, split="test").build()
    with h5py.File(path, "w") as file:
        file["kspace"] = np.stack([source[number].kspace.numpy() for number in range(SLICES)])
    return path


def wait_for_server(address: str) -> None:
    """Wait until the app answers."""
    for _ in range(60 * MINUTES):
        try:
            with urllib.request.urlopen(f"{address}health"):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit("error: the app did not start.")


def main() -> int:
    """Walk through the app and take a picture at each station."""
    from playwright.sync_api import Page, sync_playwright

    def take(page: Page, name: str) -> None:
        page.wait_for_function("() => document.querySelector('#stop').hidden")
        page.wait_for_timeout(800)
        page.screenshot(path=IMAGES / f"tour_{name}.jpg", type="jpeg", quality=72)

    address = f"http://127.0.0.1:{PORT}/"
    server = subprocess.Popen([sys.executable, "-m", "apps.inspector", "--port", str(PORT)])
    try:
        wait_for_server(address)
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(60_000 * MINUTES)
            page.goto(address)
            page.locator("#results details").nth(1).wait_for()
            take(page, "1_first")
            page.set_input_files("#scan-file", write_scan(Path(folder) / "knee.h5"))
            page.locator("#identity", has_text="Scan 1 (knee.h5)").wait_for()
            take(page, "2_scan")
            page.get_by_label("R 4", exact=True).check()
            page.locator("#identity", has_text=re.compile("R 4$")).wait_for()
            page.locator("#methods").get_by_label("CG-SENSE", exact=True).check()
            page.locator("#go").click()
            page.locator("#results details").nth(1).wait_for()
            take(page, "3_methods")
            page.locator(".stage").nth(3).focus()
            page.keyboard.press("f")
            take(page, "4_trust")
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
