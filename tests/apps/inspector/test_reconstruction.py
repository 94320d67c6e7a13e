"""From a scan to its reconstruction: parsed once, calibrated once, with the networks that are loaded already."""

from collections import Counter
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.compute import reconstruction
from apps.inspector.compute.reconstruction import AskedScan
from apps.inspector.compute.tasks import build_tasks
from apps.inspector.reading import working
from apps.inspector.reading.working import MOST_ITEMS, read_slice
from apps.inspector.web.session import SessionStore
from rsd_med.base.errors import DataError
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.simulation import Scanner
from rsd_med.experiment import Experiment
from rsd_med.inverse import scans
from tests.apps.tiny_run import make_tiny_run
from tests.teachers.test_no_peek import Scans


def silent(_):
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def session(tmp_path):
    folder = tmp_path / "sessions"
    folder.mkdir()
    store = SessionStore(folder)
    yield store.create()
    store.close()


def upload(session, slices=1, sampled=slice(None)):
    """Put k-space of a disc into a session, as an upload leaves it; return its id."""
    y, x = np.mgrid[-8:8, -8:8]
    image = torch.from_numpy(((y**2 + x**2) < 36).astype(np.float32))
    kspace, _ = Scanner(coils=2, sigma=0.001, acceleration=None).scan(image, "disc")
    values = np.zeros((slices, *kspace.shape), np.complex64)
    values[..., sampled] = kspace.numpy()[None, ..., sampled]
    folder = session.new_path()
    folder.mkdir()
    with h5py.File(folder / "0000.h5", "w") as file:
        file["kspace"] = values
    session.uploads["sent"] = folder
    return "sent"


@pytest.fixture
def counted(monkeypatch):
    """Count what is not to be done twice."""
    counts: Counter[str] = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*arguments, **options):
            counts[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    count(working, "read_item")
    count(reconstruction, "load_item")
    count(scans, "calibrate")
    count(Experiment, "load_network")
    return counts


def test_parsed_calibrated_and_loaded_once_for_reading_and_two_methods(run, session, counted, tmp_path):
    sent = upload(session)
    tasks = build_tasks(run)
    assert counted.pop("load_network") == 2  # teacher and student, when the worker starts
    seen: list[dict[str, int]] = []
    for task, more in (
        ("read", {}),
        ("reconstruct", {"method": "cg_sense", "samples": 1, "folder": str(tmp_path / "a")}),
        ("reconstruct", {"method": "student_pnp", "samples": 2, "folder": str(tmp_path / "b")}),
        ("reconstruct", {"method": "a_dps", "samples": 1, "folder": str(tmp_path / "c")}),
    ):
        item = read_slice(session, sent, 0)
        named = {"window": (0.0, 1.0), "name": "x", "title": "x"} if task == "reconstruct" else {}
        tasks[task](progress=silent, scan=str(item.path), acceleration=2.0, **named, **more)
        seen.append(dict(counted))
    assert seen[0]["read_item"] == seen[0]["load_item"] == 1
    assert seen[1] == seen[0], "the scan was prepared, or a network loaded, again"
    # The first question whether the prior knows such scans looks at the complete scan, and at its own kind, once.
    assert all(counts["read_item"] == 1 and "load_network" not in counts for counts in seen)
    tasks["read"](progress=silent, scan=str(item.path), acceleration=None)


@pytest.mark.parametrize("more", [{"noise": "none"}, {"virtual_coils": 1}])
def test_the_app_prepares_a_scan_as_training_did(run, more):
    """The same bits through training's door and through the app's, with the calibration of the run."""
    model = reconstruction.Model(run)
    settings = CalibrationSettings(maps=CoilMapSettings(kind="walsh"), **more)
    protocol = model.experiment.protocol.model_copy(update={"calibration": settings})
    model.experiment = replace(model.experiment, protocol=protocol)
    scan = reconstruction.held_out(model, 0).scan
    trained = MeasurementDataset(Scans([scan]), model.experiment.corruption, 0, settings)[0]
    mask = trained.operator.mask[0, 0, 0]
    measured = replace(scan, kspace=torch.where(mask, scan.kspace, 0), acquired=mask)
    shown = reconstruction.prepare(model, AskedScan(measured, simulated=False), None).prepared.measurement
    assert shown.data.shape[1] == more.get("virtual_coils", 2)
    for one, other in (
        (trained.data, shown.data),
        (trained.operator.maps, shown.operator.maps),
        (trained.sigma, shown.sigma),
        (trained.scale, shown.scale),
    ):
        assert torch.equal(one, other)


def test_a_series_that_grows_and_another_slice_are_read_anew(session, counted):
    sent = upload(session, slices=MOST_ITEMS + 2)
    first = read_slice(session, sent, 0)
    assert read_slice(session, sent, 0) is first
    paths = [read_slice(session, sent, number).path for number in range(1, MOST_ITEMS + 1)]
    assert counted["read_item"] == MOST_ITEMS + 1
    assert not first.path.exists(), "what was read longest ago makes room"
    assert all(path.exists() for path in paths)
    with pytest.raises(DataError, match="send the file again"):
        read_slice(session, "another's", 0)


def test_the_worker_forgets_the_scans_of_a_session_that_ended(run, session):
    item = read_slice(session, upload(session), 0)
    tasks = build_tasks(run)
    ask = {"progress": silent, "scan": str(item.path), "acceleration": 2.0}
    tasks["read"](**ask)
    item.path.unlink()
    assert tasks["read"](**ask)["coils"] == 2
    tasks["forget"](progress=silent, folder=str(session.folder))
    with pytest.raises(DataError, match="gone"):
        tasks["read"](**ask)


def test_a_scan_with_gaps_is_told_what_to_choose_on_this_page(run, session):
    gaps = [*range(0, 4, 2), *range(4, 12), *range(12, 16, 2)]
    item = read_slice(session, upload(session, sampled=gaps), 0)
    assert item.facts["gaps"]
    tasks = build_tasks(run)
    with pytest.raises(DataError, match=r"^The scan is undersampled already: choose As measured\.$"):
        tasks["read"](progress=silent, scan=str(item.path), acceleration=2.0)


def test_a_problem_of_a_scan_is_told_without_its_name_here_and_with_it_on_the_command_line(run, monkeypatch):
    def refuse(*_, **__):
        raise DataError("there are no maps.")

    monkeypatch.setattr(scans, "calibrate", refuse)
    with pytest.raises(DataError, match=r"^there are no maps\.$"):
        build_tasks(run)["read"](progress=silent, scan=0, acceleration=None)
    scan = reconstruction.held_out(reconstruction.Model(run), 0).scan
    with pytest.raises(DataError) as raised:
        scans.prepare(scan, scans.Undersampling())
    assert str(raised.value) == f"{scan.id}: there are no maps."


def test_a_session_that_ends_says_so_before_its_folder_goes(tmp_path):
    ended = []
    (tmp_path / "sessions").mkdir()
    store = SessionStore(tmp_path / "sessions", lambda session: ended.append(session.folder.exists()))
    session = store.create()
    store.begin(session)
    session.new_path()
    store.end(session)
    assert ended == [True]
    store.close()
