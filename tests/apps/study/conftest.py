"""A small study: four cases of two arms, volumes whose values tell which is which."""

from pathlib import Path

import numpy as np
import pytest

PREFERENCE = """\
schema_version: 1
name: knees
title: Knees side by side
question: {kind: preference, allow_equal: true}
arms: [student, wavelet]
readers: [r1, r2]
seed: 7
repeats: 0.25
window: [0, 1]
unit: a.u.
cases:
"""


def write_study(folder: Path, text: str = PREFERENCE, arms=("student", "wavelet"), cases: int = 4) -> Path:
    lines = []
    for case in range(cases):
        for i, arm in enumerate(arms):
            volume = np.full((3, 8, 6), 0.1 * (case + 1), np.float32)
            volume[:, 0, 0] = 0.05 * (i + 1)
            np.save(folder / f"{arm}-{case}.npy", volume)
        images = ", ".join(f"{arm}: {arm}-{case}.npy" for arm in arms)
        lines.append(f"  - {{id: c{case}, images: {{{images}}}}}")
    path = folder / "study.yaml"
    path.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def study_path(tmp_path) -> Path:
    return write_study(tmp_path)
