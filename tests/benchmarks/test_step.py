"""The step benchmark in its smallest form: that it measures, not what."""

import json
import math
import sys

import torch

from benchmarks import common, step


def test_both_stages_are_measured_beside_their_bare_passes(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["step", "--case", "smoke", "--steps", "3", "--curve", "3", "--device", "cpu"])
    step.main()
    found = json.loads((tmp_path / "step.json").read_text())
    figures = {figure["name"]: figure["value"] for figure in found["figures"]}
    assert all(math.isfinite(value) for value in figures.values())
    details = found["details"]
    teacher, student = details["smoke teacher"], details["smoke student"]
    assert 0 < teacher["bare_seconds"] < student["bare_seconds"]
    # Eleven forward passes' worth for each image of a student, three for a teacher's.
    assert math.isclose(student["flops_per_image"] / teacher["flops_per_image"], 11 / 3, rel_tol=0.02)
    assert details["smoke settings"]["chosen"] in details["smoke trials"]
    assert len(details["smoke settings"]["loss"]["plain"]) == 3
