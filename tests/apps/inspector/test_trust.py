"""What the page says of a result: a prior that does not know a scan is called so, and so is an image that does harm."""

import pytest
import torch

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.__main__ import DEMO
from apps.inspector.compute import domain, reconstruction
from apps.inspector.compute.domain import Domain, Likeness
from apps.inspector.compute.model import Model
from apps.inspector.compute.simulated import simulate
from apps.inspector.reading.trust_box import trust_box
from rsd_med.base.errors import DataError
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.scan import Picture, Scan


@pytest.fixture(scope="module")
def known():
    """Return the demo model, and what it takes for its own kind."""
    model = Model(DEMO)
    return model, Domain(model)


def letter(size):
    image = torch.full((1, size, size), -1.0)
    part = size // 8
    image[:, part : 7 * part, 2 * part : 3 * part] = 1
    image[:, part : 2 * part, 2 * part : 6 * part] = image[:, 3 * part : 4 * part, 2 * part : 5 * part] = 1
    return simulate(Picture("letter", image))


def organ(size):
    """Return an organ that the demo model never saw: a knee."""
    return KneePhantomSettings(num_images=1, size=size).build()[0]


def noise(size):
    values = torch.randn(4, size, size, 2, generator=torch.Generator().manual_seed(0))
    return Scan("noise", torch.view_as_complex(values), torch.ones(size, dtype=torch.bool))


@pytest.mark.parametrize("make", [letter, organ, noise])
def test_a_letter_another_organ_and_noise_are_foreign_to_the_demo_model(known, make):
    model, kind = known
    likeness = kind.likeness(make(model.experiment.sampling_operators.size[0]))
    assert likeness.held_out
    assert likeness.foreign


def test_of_a_larger_scan_the_centre_of_k_space_is_compared_and_a_smaller_one_is_not(known):
    model, kind = known
    side = model.experiment.sampling_operators.size[0]
    scan = reconstruction.held_out(model, 0).scan
    around = side // 8
    kspace = torch.nn.functional.pad(scan.kspace, (around,) * 4)
    larger = Scan("larger", kspace, torch.ones(side + 2 * around, dtype=torch.bool))
    plain = kind.likeness(Scan("own", scan.kspace, scan.acquired))
    assert kind.likeness(larger).errors == pytest.approx(plain.errors, rel=1e-3)
    with pytest.raises(DataError, match="smaller than"):
        kind.likeness(Scan("x", scan.kspace[:, :, 1:], scan.acquired[1:]))


def test_its_own_kind_is_not_foreign_complete_or_undersampled(known, monkeypatch):
    model, kind = known
    own = [kind.likeness(reconstruction.held_out(model, number).scan).foreign for number in range(3)]
    assert sum(own) <= 1  # each with a chance of two in 33
    monkeypatch.setattr(domain, "KNOWN", 8)
    monkeypatch.setattr(domain, "DRAWS", 2)
    few = Domain(model)
    scan = reconstruction.held_out(model, 0).scan
    mask = torch.zeros(len(scan.acquired), dtype=torch.bool)
    mask[len(mask) // 2 - 4 : len(mask) // 2 + 4] = mask[::4] = True
    kept = Scan("kept", torch.where(mask, scan.kspace, 0), mask, scan.maps)
    likeness = few.likeness(kept)
    assert [len(known) for known in likeness.known] == [8, 8]
    assert all(error < 1.3 * known[-1] for error, known in zip(likeness.errors, likeness.known, strict=True))
    with pytest.raises(DataError, match="whole columns"):
        few.likeness(Scan("x", scan.kspace, scan.acquired, sampled=torch.ones(scan.kspace.shape[-2:], dtype=bool)))


FINE = {"part": "the whole scan", "noise": 1.02, "signal": 0.01, "fine": True}
BAD = FINE | {"fine": False}
FACTS = {"shape": [16, 12], "coils": 4, "sampling": {"acceleration": 4.0}}
TRAINED = {"kind": "x", "description": "knees, T1", "size": [32, 32], "coils": 4, "acceleration": 4.0, "scans": 3000}
KNOWN = {"usual": [(0.2, 0.8), (0.7, 1.0)], "count": 32, "held_out": True}
LIKE = KNOWN | {"errors": (0.5, 0.9), "foreign": False, "at": None}
ADAPTED = {"steps": 20, "taken": 60, "copies": 3, "before": 0.5, "after": 0.4}
GOOD = {
    "learned": True,
    "residual": {"consistent": True, "meant": True, "cause": "", "rings": [FINE]},
    "hidden": {"own": 0.2, "baseline": 0.3, "lines": 12, "worse": False},
    "prior": {"trained": TRAINED, "like": LIKE},
    "quality": {"NMSE": 0.05, "PSNR": 30.0, "SSIM": 0.9},
    "exact": False,
    "zero_filled": {"NMSE": 0.2, "PSNR": 20.0, "SSIM": 0.5},
    "maps": {"kind": "espirit"},
}


@pytest.mark.parametrize(
    ("change", "grade", "words"),
    [
        ({}, "fine", "3,000 scans, knees, T1; 32 × 32, 4 coils, R = 4. This scan: 12 × 16, 4 coils, R = 4"),
        ({"quality": {"NMSE": 0.25, "PSNR": 1.0, "SSIM": 0.1}}, "bad", "WORSE than doing nothing (zero-filled)"),
        ({"adaptation": ADAPTED}, "fine", "learned for 20 steps; squared error of hidden lines 0.500"),
        ({"adaptation": ADAPTED | {"steps": 0}}, "fine", "no: in 60 steps it did not learn"),
        ({"hidden": {**GOOD["hidden"], "worse": True}}, "bad", "predicted WORSE than without a prior"),
        ({"prior": {"trained": TRAINED, "like": LIKE | {"foreign": True}}}, "bad", "FOREIGN"),
        ({"prior": {"trained": TRAINED, "like": LIKE | {"at": [128, 128]}}}, "fine", "compared at 128 × 128 pixels"),
        ({"prior": {"trained": TRAINED | {"description": ""}, "like": LIKE}}, "fine", "x data, whose anatomy"),
        ({"prior": {"trained": TRAINED, "like": None, "untested": "none here."}}, "doubt", "not tested: none"),
        (
            {"residual": {**GOOD["residual"], "consistent": False, "cause": "the mask is wrong", "rings": [BAD]}},
            "bad",
            "NOT consistent with them: the whole scan 1.02 × the noise (too much). The mask is wrong.",
        ),
        ({"maps": {"kind": "espirit", "second_eigenvalue": 0.2, "sets": 1}}, "doubt", "two places fall on one pixel"),
        ({"maps": {"kind": "walsh", "residual": 0.5, "allowed": 0.25, "explains": False}}, "doubt", "50% of"),
    ],
)
def test_every_line_of_the_box_has_its_grade_and_the_worst_is_the_verdict(change, grade, words):
    box = trust_box({**GOOD, **change}, FACTS)
    assert box["grade"] == grade
    assert any(words in line["text"] for line in box["lines"]), box
    assert "proves nothing" in box["verdict"] if grade == "fine" else "proves" not in box["verdict"]


def test_a_rank_is_a_rank_and_one_odd_scan_is_spared():
    known = ((0.1, 0.8, 3.0), (0.5, 0.6, 0.7))
    assert Likeness((0.81, 0.5), known, True).foreign
    assert Likeness((0.1, 0.61), known, True).foreign
    assert not Likeness((0.8, 0.6), known, True).foreign
