"""The fault campaign in its smallest form: a few kills, a few damages, every one survived or found."""

import os

import pytest

from benchmarks import _victims as victims
from benchmarks.faults import Campaign, die_at, mounted, outcome, progress
from rsd_med.diffusion.backbones import MonaiUNetSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    monkeypatch.setattr(MonaiUNetSettings, "build", MonaiUNetSettings.build)  # restored after the small network
    victims.prepare()
    campaign = Campaign(tmp_path, seed=1)
    campaign.uninterrupted()
    return campaign


def test_killed_runs_end_as_the_uninterrupted_one_and_every_damage_is_found(campaign, tmp_path):
    found = campaign.damages(20)
    assert found["damages detected"] == found["damages"] == 20
    found = campaign.kills(2)
    assert campaign.problems == []
    assert found["kill -9"] == 2
    assert found["lost runs"] == found["runs with wrong bytes"] == found["checkpoints damaged or lost by a kill"] == 0
    # The yardstick itself: another seed is another run, and half a run is none.
    other = tmp_path / "other"
    assert victims.begin(campaign.protocol, other, "--set", "seed=4").wait() == 0
    assert outcome(other).keys() == campaign.expected.keys()
    assert outcome(other) != campaign.expected
    half = tmp_path / "half"
    life = victims.begin(campaign.protocol, half, hook=die_at(50))
    assert life.wait() == -9
    assert 0 < progress(half)[0] < 80
    assert "incomplete" in outcome(half)


def test_a_small_file_system_is_given_back(tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as room:
        if room is None:
            pytest.skip("not allowed to mount here")
        with pytest.raises(OSError, match="No space"):
            (room / "file").write_bytes(b"x" * 100_000)
    assert not os.path.ismount(tmp_path / "disk")
