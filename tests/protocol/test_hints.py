"""Values that are allowed and seldom meant are said, and usual ones are not."""

import re
from pathlib import Path

import pytest

from rsd_med.protocol import load_protocol
from rsd_med.protocol.hints import odd_values
from rsd_med.train import main
from tests.apps.tiny_run import PROTOCOL

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "protocols").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_protocols_that_come_along_hold_nothing_odd(path):
    assert odd_values(load_protocol(path)) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("corruption={kind: noise, sigma: 25}", "corruption.sigma: 25 drowns images .* write 0.196"),
        ("corruption={kind: noise, sigma: 1e-30}", "corruption.sigma: 1e-30 is no noise at all"),
        ("corruption={kind: rician, noise: 40}", "corruption.noise: 40 drowns"),
        ("teacher.optimiser.learning_rate=5", "teacher.optimiser.learning_rate: at 5 networks mostly diverge"),
        ("student.fake.learning_rate=1e-12", "student.fake.learning_rate: at 1e-12 networks mostly learn nothing"),
    ],
)
def test_odd_values_are_said(change, sentence, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL)
    protocol = load_protocol(path, [change])
    (said,) = odd_values(protocol)
    assert re.match(sentence, said)


def test_long_distillations_are_told_of_the_levels_that_they_leave_out(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL)
    noisy = ["corruption={kind: noise, sigma: 0.2}", "student.images=2000000"]
    (said,) = odd_values(load_protocol(path, noisy))
    assert re.match(
        r"student\.loss\.from_data_sigma: a student of 2,000,000 images .* noise of the data \(0\.2\)", said
    )
    for change in ("student.loss.from_data_sigma=false", "student.images=20000", "corruption={kind: none}"):
        assert odd_values(load_protocol(path, [*noisy, change])) == []


def test_a_dry_run_says_them(tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL.replace("num_images: 4", "num_images: 8"))
    assert main([str(path), "--dry-run", "--set", "teacher.optimiser.learning_rate=5"]) == 0
    assert capsys.readouterr().err.count("warning: teacher.optimiser.learning_rate: at 5") == 1
