"""The report in a real browser, with no way to the network."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsd_med.reporting.report import build_report

PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const loaded = images.filter((image) => image.complete && image.naturalWidth > 0).length;
  const entries = performance.getEntriesByType("resource").map((entry) => entry.name);
  const outside = entries.filter((name) => !name.startsWith("data:")).length;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.body.dataset.found = [images.length, loaded, outside, wide].join(" ");
});
</script>
"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory, chromium_program):
    profile = tmp_path_factory.mktemp("profile")

    def run(page: Path, *options: str, width: int = 1280) -> str:
        command = [
            chromium_program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
        ]
        command += [
            f"--user-data-dir={profile}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--window-size={width},1400",
        ]
        done = subprocess.run(
            [*command, *options, page.as_uri()], capture_output=True, text=True, timeout=90, check=True
        )
        return done.stdout

    return run


@pytest.mark.parametrize("width", [1280, 500])
def test_all_pictures_load_from_the_page_itself_and_it_fits_the_window(browse, run, width):
    build_report(run)
    text = run.report.read_text(encoding="utf-8")
    # The page forbids scripts; only this copy, without its policy, may look at itself.
    probed = run.path / "probed.html"
    probed.write_text(
        re.sub(r'<meta http-equiv="[^>]*>', "", text).replace("</body>", PROBE + "</body>"), encoding="utf-8"
    )
    found = re.search(r'data-found="([^"]*)"', browse(probed, "--dump-dom", width=width))[1]
    images, loaded, outside, wide = map(int, found.split())
    assert loaded == images == text.count("<img ") > 10
    assert outside == 0
    assert wide <= 0


def test_the_page_as_it_is_shows_its_pictures_under_its_own_policy(browse, run, tmp_path):
    build_report(run)
    shot = tmp_path / "page.png"
    browse(run.report, f"--screenshot={shot}")
    page = np.asarray(Image.open(shot).convert("L")).astype(float)
    assert page.shape == (1400, 1280)
    # Knees are neither the dark ground nor the white letters on it.
    middle = (page > 60) & (page < 200)
    rows = middle[:, 340:620].mean(1)  # where the teacher's panel lies
    assert (rows > 0.3).sum() > 150
