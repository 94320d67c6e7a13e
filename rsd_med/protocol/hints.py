"""Values that are allowed and seldom meant: a word about each before a run begins."""

from collections.abc import Iterator, Mapping
from typing import Any

from rsd_med.protocol.protocol import Protocol

LARGE_NOISE, SMALL_NOISE = 2.0, 1e-4
"""Images span [-1, 1]: of more nothing of them is left, and of less nothing is seen."""

LONG = 1_000_000
"""Images from which on a student counts as trained for long."""

FAST, SLOW = 0.05, 1e-7
"""Learning rates of Adam between which networks of images have learned."""


def odd_values(protocol: Protocol) -> list[str]:
    """Return a sentence for every value that is allowed but seldom meant, with its key."""
    plain = protocol.model_dump()
    return [*_noise(plain["corruption"]), *_rates(plain), *_levels(plain)]


def _levels(plain: Mapping[str, Any]) -> Iterator[str]:
    student, sigma = plain["student"], plain["corruption"].get("sigma", 0)
    if sigma and student["loss"]["from_data_sigma"] and student["images"] >= LONG:
        yield (
            f"student.loss.from_data_sigma: a student of {student['images']:,} images has time for levels below the "
            f"noise of the data ({sigma:g}), which this leaves out; false, with t_min 0 and t_max 0.8, is published."
        )


def _noise(corruption: Mapping[str, Any]) -> Iterator[str]:
    for key in ("sigma", "noise", "sinogram_noise", "simulated_sigma"):
        value = corruption.get(key)
        if not isinstance(value, float | int) or isinstance(value, bool) or value == 0:
            continue
        if value > LARGE_NOISE:
            yield (
                f"corruption.{key}: {value:g} drowns images that span [-1, 1]; if grey levels of 8 bits are meant, "
                f"write {value / 127.5:.3g}."
            )
        elif value < SMALL_NOISE:
            yield f"corruption.{key}: {value:g} is no noise at all for images that span [-1, 1]; 0.05 to 1 is usual."


def _rates(plain: Mapping[str, Any]) -> Iterator[str]:
    for stage, part in (("teacher", "optimiser"), ("student", "generator"), ("student", "fake")):
        rate = plain[stage][part]["learning_rate"]
        if not SLOW <= rate <= FAST:
            what = "diverge" if rate > FAST else "learn nothing"
            yield f"{stage}.{part}.learning_rate: at {rate:g} networks mostly {what}; 1e-5 to 5e-3 is usual."
