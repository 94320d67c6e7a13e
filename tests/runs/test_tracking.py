"""Figures in MLflow, which a module that keeps what it is given stands in for; and lines that are as documented."""

import json
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from pydantic import ValidationError

from rsd_med.runs import tracking
from rsd_med.runs.metrics_line import MetricsLine, metrics_table
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.run_logger import RunLogger
from rsd_med.runs.tracking import Tracker, flat
from rsd_med.schema import schema_text

ROOT = Path(__file__).parents[2]


class Client:
    """Keeps runs as MLflow's client does, as far as its documentation promises."""

    runs: dict = {}
    fails_after = 10**9

    def __init__(self, tracking_uri: str) -> None:
        if tracking_uri == "broken":
            raise ConnectionError("nobody\nis there")

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return f"experiment of {name}"

    def create_run(self, experiment_id, run_name=None):
        number = str(len(self.runs))
        self.runs[number] = SimpleNamespace(
            experiment=experiment_id, name=run_name, params={}, metrics=[], status="RUNNING"
        )
        return SimpleNamespace(info=SimpleNamespace(run_id=number))

    def update_run(self, run_id, status=None, name=None):
        self.runs[run_id].status = status

    def log_batch(self, run_id, metrics=(), params=()):
        run = self.runs[run_id]
        assert len(params) <= 100
        for param in params:
            assert param.key not in run.params, "parameters cannot be changed"
            run.params[param.key] = param.value
        if len(run.metrics) >= Client.fails_after:
            raise RuntimeError("the server has gone")
        run.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]

    def set_terminated(self, run_id, status=None):
        self.runs[run_id].status = status


@pytest.fixture
def mlflow(monkeypatch):
    entities, client = ModuleType("mlflow.entities"), ModuleType("mlflow.tracking")
    entities.Metric = lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step)
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)
    client.MlflowClient = Client
    package = ModuleType("mlflow")
    package.__spec__ = ModuleSpec("mlflow", None)
    for name, module in {"mlflow": package, "mlflow.entities": entities, "mlflow.tracking": client}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Client, "runs", {})
    monkeypatch.setattr(Client, "fails_after", 10**9)
    return Client


SETTINGS = {"name": "tiny", "teacher": {"images": 64, "optimiser": {"learning_rate": 0.001}}, "many": dict.fromkeys(
    map(str, range(150)), 1)}  # fmt: skip


def log(folder: Path, uri: str = "mlruns", leave: type[BaseException] | None = None, steps: int = 2) -> RunLogger:
    """A run's figures through its logger."""
    run = RunFolder(folder)
    folder.mkdir(exist_ok=True)
    with RunLogger(run, quiet=True, tracker=Tracker(uri, folder, "tiny", SETTINGS)) as logger:
        for step in range(1, steps + 1):
            logger.record("teacher", 8 * step, {"loss": 1.0 / step, "seconds": 1.0})
            time.sleep(0.02)
        logger.conclude({"student": {"fd": 2.0, "sampler": "heun"}}, 8 * steps)
        if leave is not None:
            raise leave
    return logger


def test_a_run_is_in_mlflow_with_parameters_figures_and_end(tmp_path, mlflow):
    log(tmp_path / "run")
    (run,) = mlflow.runs.values()
    assert (run.experiment, run.name, run.status) == ("experiment of tiny", "run", "FINISHED")
    assert run.params["teacher.optimiser.learning_rate"] == "0.001"
    assert len(run.params) == 153
    assert run.metrics == [
        ("teacher/loss", 1.0, 8), ("teacher/seconds", 1.0, 8), ("teacher/loss", 0.5, 16),
        ("teacher/seconds", 1.0, 16), ("final/student/fd", 2.0, 16),
    ]  # fmt: skip


def test_a_run_that_goes_on_goes_on_in_the_same_run(tmp_path, mlflow):
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path / "run", leave=KeyboardInterrupt)
    assert [run.status for run in mlflow.runs.values()] == ["KILLED"]
    assert json.loads((tmp_path / "run" / "mlflow.json").read_text()) == {"run_id": "0"}
    log(tmp_path / "run")
    (run,) = mlflow.runs.values()
    assert (run.status, len(run.metrics)) == ("FINISHED", 10)
    with pytest.raises(ZeroDivisionError):
        log(tmp_path / "other", leave=ZeroDivisionError)
    assert [run.status for run in mlflow.runs.values()] == ["FINISHED", "FAILED"]


def said(folder: Path) -> list[str]:
    return [line for line in (folder / "log.txt").read_text().splitlines() if "MLflow" in line]


@pytest.mark.parametrize(
    ("uri", "fails_after", "reason"),
    [("broken", 0, "ConnectionError: nobody is there"), ("mlruns", 2, "RuntimeError: the server has gone")],
)
def test_what_fails_is_said_once_and_stops_nothing(tmp_path, mlflow, monkeypatch, uri, fails_after, reason):
    monkeypatch.setattr(Client, "fails_after", fails_after)
    log(tmp_path / "run", uri, steps=5)
    (line,) = said(tmp_path / "run")
    assert reason in line
    assert "goes on" in line
    assert len(RunFolder(tmp_path / "run").read_metrics_lines()) == 5


def test_without_the_package_that_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda _: None)
    log(tmp_path / "run")
    (line,) = said(tmp_path / "run")
    assert "pip install 'rsd_med[mlflow]'" in line


def test_a_server_that_hangs_holds_no_run(tmp_path, mlflow, monkeypatch):
    monkeypatch.setattr(tracking, "_LAST_SECONDS", 0.1)
    monkeypatch.setattr(Client, "create_run", lambda *_, **__: time.sleep(2))
    log(tmp_path / "run")
    (line,) = said(tmp_path / "run")
    assert "not everything was sent" in line


def test_long_values_are_cut():
    assert dict(flat({"a": {"b": "x" * 9000}})) == {"a.b": "x" * 500}


# --- lines --------------------------------------------------------------------------------------------------------


def test_lines_of_a_real_run_are_what_is_documented():
    lines = RunFolder(ROOT / "apps" / "inspector" / "demo_model").read_metrics_lines()
    assert {line["stage"] for line in lines} == {"teacher", "student", "reconstructor"}
    for line in lines:
        MetricsLine.model_validate(line)
    with pytest.raises(ValidationError, match="unheard"):
        MetricsLine.model_validate(lines[0] | {"unheard": 1.0})


def test_the_page_and_the_schema_say_what_the_code_says():
    assert metrics_table() in (ROOT / "docs" / "run_folder.md").read_text(encoding="utf-8")
    schema = json.loads(schema_text(metrics=True))
    assert set(schema["properties"]) == set(MetricsLine.model_fields)
    assert schema["required"] == ["stage", "images"]
    assert all(field.description for field in MetricsLine.model_fields.values())
