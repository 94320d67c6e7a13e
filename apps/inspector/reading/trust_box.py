"""What can be trusted of a result, in sentences: a verdict, and the lines that it rests on, each with a grade."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Grade = Literal["fine", "doubt", "bad", "plain"]
VERDICTS: dict[Grade, str] = {
    "bad": "Do not rely on this image",
    "doubt": "Look twice",
    "fine": "Nothing found against it, which proves nothing",
}


@dataclass(frozen=True)
class Line:
    """One thing that speaks for or against an image.

    Attributes
    ----------
    title, text
        What was asked, and the answer.
    grade
        ``bad`` and ``doubt`` speak against it, ``fine`` found nothing, ``plain`` is for information.
    """

    title: str
    text: str
    grade: Grade


def trust_box(trust: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the box as plain values: ``grade``, ``verdict``, and ``lines``.

    Parameters
    ----------
    trust
        What the worker found; see ``compute.trust``.
    facts
        Of the slice: ``shape``, ``coils``, ``sampling``.
    """
    lines = [_against_reference(trust), _measured(trust["residual"]), _maps(trust["maps"])]
    if trust["learned"]:
        lines += [
            _adapted(trust.get("adaptation")),
            _hidden(trust["hidden"]),
            _like(trust["prior"]),
            _trained(trust["prior"]["trained"], facts),
        ]
    there = [line for line in lines if line is not None]
    grades = {line.grade for line in there}
    grade: Grade = "bad" if "bad" in grades else "doubt" if "doubt" in grades else "fine"
    return {"grade": grade, "verdict": VERDICTS[grade], "lines": [asdict(line) for line in there]}


def _against_reference(trust: dict[str, Any]) -> Line | None:
    own, before = trust["quality"], trust["zero_filled"]
    if not own:
        return None
    figures = (
        f"NMSE {own['NMSE']:.3g} against {before['NMSE']:.3g}, SSIM {own['SSIM']:.2f} against {before['SSIM']:.2f}"
    )
    title = "Beside the image that was scanned" if trust["exact"] else "Beside the complete scan"
    if own["NMSE"] > before["NMSE"]:
        return Line(title, f"WORSE than doing nothing (zero-filled): {figures}.", "bad")
    return Line(title, f"closer to it than the zero-filled image: {figures}.", "fine")


def _measured(residual: dict[str, Any]) -> Line:
    rings = "; ".join(
        f"{ring['part']} {_level(ring)}{'' if ring['fine'] else ' (too much)'}" for ring in residual["rings"]
    )
    if residual["consistent"]:
        text = f"consistent with them: {rings}. This says nothing about lines that were not measured."
        return Line("Measured lines", text, "fine")
    if not residual["meant"]:
        return Line("Measured lines", f"not meant to fit them: {rings}.", "plain")
    cause, unsure = residual["cause"], all(ring["noise"] is None for ring in residual["rings"])
    text = f"NOT consistent with them: {rings}. {cause[:1].upper()}{cause[1:]}."
    # Without the noise level, the limit is a rule of thumb.
    return Line("Measured lines", f"{text} The noise is not known." if unsure else text, "doubt" if unsure else "bad")


def _level(ring: dict[str, Any]) -> str:
    return f"{ring['signal']:.1%} of the signal" if ring["noise"] is None else f"{ring['noise']:.2f} × the noise"


def _maps(maps: dict[str, Any]) -> Line | None:
    share = maps.get("second_eigenvalue")
    if "residual" in maps and not maps["explains"]:
        text = f"they leave {maps['residual']:.0%} of the centre over (allowed {maps['allowed']:.0%})."
        return Line("Coil maps", text, "doubt")
    if share is not None and share > WRAPPED and maps.get("sets", 1) < 2:
        text = f"in {share:.0%} of the signal two places fall on one pixel: the object may be wider than the picture."
        return Line("Field of view", text, "doubt")
    return None


WRAPPED = 0.03
"""Share of the signal with a second coil map that is mentioned, where only one map was taken."""


def _hidden(hidden: dict[str, Any] | None) -> Line:
    title = "Hidden lines"
    if hidden is None or "reason" in hidden:
        return Line(title, f"not checked: {hidden['reason'] if hidden else 'nothing to hide'}", "plain")
    figures = (
        f"squared error {hidden['own']:.2f} of their energy, L1 wavelet {hidden['baseline']:.2f}; "
        f"{hidden['lines']} measured lines were hidden in turn"
    )
    if hidden["worse"]:
        return Line(
            title, f"predicted WORSE than without a prior ({figures}): what it adds is not of this scan.", "bad"
        )
    return Line(title, f"predicted no worse than without a prior ({figures}).", "fine")


def _adapted(adaptation: dict[str, Any] | None) -> Line | None:
    if adaptation is None:
        return None
    title, copies = "Adapted to the scan", f"{adaptation['copies']} copies, each with other lines hidden"
    if not adaptation["steps"]:
        text = f"no: in {adaptation['taken']} steps it did not learn to predict hidden lines better ({copies})."
        return Line(title, f"{text} The image is that of the reconstructor as it is.", "plain")
    errors = f"{adaptation['before']:.3f} of their energy before, {adaptation['after']:.3f} after"
    text = f"it learned for {adaptation['steps']} steps; squared error of hidden lines {errors} ({copies})."
    return Line(title, text, "plain")


def _like(prior: dict[str, Any]) -> Line:
    title, like = "Like its training?", prior["like"]
    if like is None:
        return Line(title, f"not tested: {prior['untested']}", "doubt")
    who = "held-out" if like["held_out"] else "training"
    errors = " and ".join(f"{error:.2f}" for error in like["errors"])
    usual = " and ".join(f"{least:.2f} to {most:.2f}" for least, most in like["usual"])
    at = "" if like["at"] is None else f"compared at {like['at'][0]} × {like['at'][1]} pixels; "
    figures = f"{at}errors {errors}, with little and much noise; {like['count']} {who} scans but the worst: {usual}"
    if like["foreign"]:
        text = f"FOREIGN: its network predicts this scan worse than its own kind ({figures})."
        return Line(title, text, "bad")
    return Line(title, f"not told apart from its own kind ({figures}). A lesion may still be unknown to it.", "fine")


def _trained(trained: dict[str, Any], facts: dict[str, Any]) -> Line:
    """Say what the prior knows, beside what this scan is."""
    rows, columns = trained["size"]
    what = trained["description"] or f"{trained['kind']} data, whose anatomy and contrast are not on record"
    count = f"{trained['scans']:,} scans, " if trained["scans"] else ""
    speed = f", R = {trained['acceleration']:g}" if trained["acceleration"] else ""
    coils = f", {trained['coils']} coils" if trained["coils"] else ""
    height, width = facts["shape"]
    this = f"{width} × {height}, {facts['coils']} coils, R = {facts['sampling']['acceleration']:.2g}"
    text = f"{count}{what}; {columns} × {rows}{coils}{speed}. This scan: {this}."
    return Line("Trained on", text, "plain")
