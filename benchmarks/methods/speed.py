"""How much faster one step is than the teacher's sampler: same experiment, same batch, in turn."""

import json

from benchmarks.methods.bench import Bench
from benchmarks.methods.methods import METHODS
from benchmarks.methods.outcome import time_draws
from rsd_med.base.files import write_text


def measure_speed(bench: Bench) -> None:
    """Measure once the seconds per image of teacher (full sampler) and SiD student, where both are in the table."""
    rows = bench.folder / "rows"
    path = rows / "speed.json"
    if path.exists() or not all((rows / f"{name}.json").exists() for name in ("teacher_full", "sid")):
        return
    draws = {name: METHODS[name](bench).draw for name in ("teacher_full", "sid")}
    found = time_draws(bench.own, draws)
    write_text(path, json.dumps(found | {"speedup": found["teacher_full"] / found["sid"]}, indent=2) + "\n")
