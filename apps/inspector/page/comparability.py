"""Which figures of several runs may be compared, in words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsd_med.reporting.record import RunRecord

DISTANCES = "Fréchet, coverage, precision, spectrum and air"


def comparability(records: "Mapping[str, RunRecord]") -> str:
    """Say what distances of these runs rest on, and whether they rest on the same.

    Distances between sets of images depend on the features, on how many images are in each set, and on what the
    reference is; proximal distances also on how many measurements there are; seconds on the machine.
    """
    facts = {name: _facts(record) for name, record in records.items()}
    if len(facts) == 1:
        (own,) = facts.values()
        said = "; ".join(f"{what}: {value}" for what, value in own.items())
        return f"They can be compared with those of runs that have the same of all this: {said}."
    values = {what: [str(own[what]) for own in facts.values()] for what in next(iter(facts.values()))}
    differ = {what: of_runs for what, of_runs in values.items() if len(set(of_runs)) > 1}
    distances = [what for what in differ if what not in ("measurements", "machine")]
    sentences = []
    if distances:
        named = "; ".join(f"{what} ({', '.join(differ[what])})" for what in distances)
        sentences.append(f"These runs' figures can NOT be compared with one another: they differ in {named}.")
    else:
        sentences.append(f"{DISTANCES} of these runs can be compared: features, numbers and reference are equal.")
        same = "measurements" not in differ
        sentences.append(
            "So can their proximal distances."
            if same
            else "Their proximal distances cannot: they rest on different numbers of measurements."
        )
    if "machine" in differ:
        sentences.append("Their seconds cannot: they were measured on different machines.")
    return " ".join(sentences)


def _facts(record: "RunRecord") -> dict[str, Any]:
    from rsd_med.reporting.record import mapping

    metrics, environment = record.metrics, record.environment
    reference = mapping(record.protocol, "evaluation", "reference")
    return {
        "features": metrics.get("features", "not recorded"),
        "samples": metrics.get("num_samples", "not recorded"),
        "reference images": metrics.get("num_reference", "not recorded"),
        "reference": _in_words(reference) if reference else "none",
        "measurements": metrics.get("num_measurements", "not recorded"),
        "machine": environment.get("gpu") or f"{environment.get('cpu_count', 'unknown')} processor cores",
    }


def _in_words(reference: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in reference.items() if key != "kind" and value is not None)
    return f"{reference.get('kind', 'unknown')}" + (f" ({rest})" if rest else "")
