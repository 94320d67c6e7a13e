"""A run's figures in MLflow as well, for those who compare their studies there. Nothing it does can stop a run."""

import importlib.util
import json
import queue
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from rsd_med.base.files import write_text

STATUS = {"done": "FINISHED", "interrupted": "KILLED"}
"""MLflow's words; FAILED for all others."""

_MOST_WAITING = 10_000
_LAST_SECONDS = 30.0
_LONGEST_VALUE = 500
_MOST_AT_ONCE = 100


class Tracker:
    """Sends the figures of one run to MLflow, in a thread of its own, so that no step waits for a network.

    A run that is resumed goes on in the run of MLflow whose name ``mlflow.json`` in its folder keeps. The first failure
    ends the sending; ``metrics.jsonl`` holds everything.

    Parameters
    ----------
    uri
        MLflow's tracking address: ``sqlite:///FILE``, ``http://…``.
    folder
        The run's.
    experiment
        The name of MLflow's experiment.
    settings
        The resolved protocol, as plain values.
    """

    def __init__(self, uri: str, folder: Path, experiment: str, settings: Mapping[str, Any]) -> None:
        self.problem: str | None = None
        self._uri, self._folder, self._experiment = uri, folder, experiment
        self._settings = settings
        self._waiting: queue.Queue[tuple[str, Any]] = queue.Queue(_MOST_WAITING)
        if importlib.util.find_spec("mlflow") is None:
            self.problem = "it is not installed: pip install 'rsd_med[mlflow]'"
        self._thread = Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def record(self, figures: Mapping[str, float], images: int) -> None:
        """Send figures by their names; takes no time."""
        self._put("figures", (dict(figures), images, int(1000 * time.time())))

    def close(self, state: str) -> None:
        """Send what is left, and how the run has ended, for half a minute at most.

        Parameters
        ----------
        state
            As in ``status.json``.
        """
        self._put("end", STATUS.get(state, "FAILED"))
        self._thread.join(_LAST_SECONDS)
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"not everything was sent within {_LAST_SECONDS:.0f} s"

    def _put(self, what: str, content: object) -> None:
        if self.problem is None:
            try:
                self._waiting.put_nowait((what, content))
            except queue.Full:
                self.problem = "it does not take figures as fast as they come"

    def _work(self) -> None:
        """Run in the thread."""
        try:
            if self.problem is None:
                self._send()
        except Exception as error:  # of a library that may raise anything, and must not end a run
            self.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def _send(self) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self._uri)
        number, new = self._begin(client)
        params = [Param(name, value) for name, value in flat(self._settings)] if new else []
        for start in range(0, len(params), _MOST_AT_ONCE):
            client.log_batch(number, params=params[start : start + _MOST_AT_ONCE])
        while True:
            what, content = self._waiting.get()
            if what == "end":
                client.set_terminated(number, content)
                return
            figures, images, now = content
            client.log_batch(
                number, metrics=[Metric(name, float(value), now, images) for name, value in figures.items()]
            )

    def _begin(self, client: Any) -> tuple[str, bool]:
        """Return the number of MLflow's run: that of the folder, or of a new one; and whether it is new."""
        stored = self._folder / "mlflow.json"
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = str(json.loads(stored.read_text(encoding="utf-8"))["run_id"])
            client.update_run(known, status="RUNNING")
            return known, False
        experiment = client.get_experiment_by_name(self._experiment)
        number = client.create_experiment(self._experiment) if experiment is None else experiment.experiment_id
        run: str = client.create_run(number, run_name=self._folder.name).info.run_id
        write_text(stored, json.dumps({"run_id": run}, indent=2) + "\n")
        return run, True


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the names and values of nested settings: ``teacher.batch_size``, ``32``; long values are cut."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)[:_LONGEST_VALUE]
