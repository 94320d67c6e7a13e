"""What the page is told of a scan and of its slices, as plain values."""

from typing import Any
from urllib.parse import quote

from ..compute.first_look import usual_speed
from ..compute.methods import ADAPTED, TITLES
from ..viewer.page import describe
from ..web.artefacts import Pane
from ..web.session import Session
from .cases import ACCELERATIONS, AS_MEASURED, NOTHING_DONE, Case
from .trust_box import trust_box


def account_of(session: Session, case: Case, acceleration: str = AS_MEASURED) -> dict[str, Any]:
    """Return what is known of a scan: identity, panes of one acceleration, methods, and what is going on."""
    rows, columns = case.stack["shape"]

    def shape_of(pane: Pane) -> tuple[int, int, int]:
        return (case.count, int(rows), int(columns))

    facts = next(reversed(case.facts.values()), None) or case.read
    return {
        "id": case.id,
        "title": case.title,
        "source": case.source,
        "example": isinstance(case.source, int),
        "count": case.count,
        "start": case.stack["index"] - case.stack["first"],
        "volumes": case.stack["volumes"],
        "volume": case.stack["volume"],
        "total": case.stack["total"],
        "file": file_facts(case),
        "notes": list(case.stack["notices"]),
        "version": case.version,
        "busy": case.busy,
        "progress": case.progress,
        "problem": case.problem,
        "acceleration": acceleration,
        "accelerations": list(ACCELERATIONS),
        "usual": f"{usual_speed(facts['trained']['acceleration'] if facts else None):g}",
        "shows": facts["trained"]["description"] if facts else "",
        "latest": next(reversed(case.facts), (0, AS_MEASURED))[1],
        "methods": methods_for(facts),
        "first": facts["first"] if facts else [],
        "panes": [describe(pane, shape_of(pane)) for pane in case.panes(acceleration)],
        "done": sorted({(number, method) for number, speed, method in case.results if speed == acceleration}),
    }


def file_facts(case: Case) -> list[tuple[str, str]]:
    """Return what was read of the file, as rows of a name and a value."""
    stack = case.stack
    rows, columns = stack["shape"]
    said = [("Size", f"{columns} × {rows}, {case.count} slice{'s' if case.count != 1 else ''}")]
    if stack["kind"] == "picture":
        said.append(("Kind", "an image: to be reconstructed, it is scanned here by a simulated scanner"))
    if stack["volumes"] > 1:
        said.append(("Volume", f"{stack['volume'] + 1} of {stack['volumes']} in this file"))
    said.append(("Orientation", "known" if stack["oriented"] else "unknown: no left and right are shown"))
    if stack["spacing_mm"]:
        said.append(("Spacing", " × ".join(f"{step:.3g}" for step in stack["spacing_mm"]) + " mm"))
    return said


def slice_account(case: Case, number: int, acceleration: str) -> dict[str, Any]:
    """Return all that is known of one slice at one acceleration."""
    facts = case.facts.get((number, acceleration))
    answer: dict[str, Any] = {"number": number, "acceleration": acceleration, "facts": [], "results": []}
    if facts is None:
        return answer
    answer["facts"] = measured_facts(facts)
    for method, title in TITLES.items():
        result = case.results.get((number, acceleration, method))
        if result is not None:
            answer["results"].append(
                {
                    "method": method,
                    "title": title,
                    "label": case.label(number, acceleration, title),
                    "box": trust_box(result["trust"], facts),
                    "quality": result["trust"]["quality"],
                    "before": result["trust"]["zero_filled"],
                    "seconds": result["seconds"],
                    "samples": result["samples"],
                    "files": result["files"],
                    "volume": volume_address(case, acceleration, method),
                }
            )
    return answer


def volume_address(case: Case, acceleration: str, method: str) -> str:
    """Return where a method's whole volume is fetched; "" where it is none, or not all of it was made."""
    if case.count < 2 or not case.whole(acceleration, method):
        return ""
    return f"/reading/volume/{case.id}/{method}?acceleration={quote(acceleration)}"


def methods_for(facts: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the methods, and of those that cannot be used here why; before anything was measured all may be."""
    listed = []
    for name, title in TITLES.items():
        if name == NOTHING_DONE:
            continue
        needs, why = facts["asks"][name] if facts else "", ""
        if facts and needs and needs not in facts["learned"]:
            rows, columns = facts["trained"]["size"]
            height, width = facts["shape"]
            why = f"Learned methods of this run take {columns} × {rows} only; this scan is {width} × {height}."
            if (rows, columns) == (height, width):
                why = f"This run has no trained {needs} for such scans."
        slow = name == ADAPTED
        if slow:
            title = f"{title} (minutes)"
            if facts and not why and facts["sampling"]["pattern"] != "columns":
                why = "Adapting needs whole columns of k-space; this scan has others."
        listed.append({"name": name, "title": title, "learned": bool(needs), "why": why, "slow": slow})
    return listed


def measured_facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was measured of a slice, as rows of a name and a value."""
    sampling, maps = facts["sampling"], facts["maps"]
    height, width = facts["shape"]
    there = width if sampling["pattern"] == "columns" else width * height
    rows = [
        ("Coils", str(facts["coils"]) + (" (simulated)" if facts["simulated"] else "")),
        (
            "Sampling",
            f"{sampling['sampled']} of {there} {sampling['pattern']}: {sampling['acceleration']:.2f}-fold, "
            f"{sampling['acs']} central lines",
        ),
    ]
    source = {
        None: "not known",
        "scan": "from the noise scan",
        "edges": "from the edges of k-space",
        "edges and background": "from the edges of k-space and the background",
    }
    known = source.get(facts["noise_source"], "from the background")
    sigma = f"{facts['sigma'] * facts['scale']:.3g} in units of k-space, {known}" if facts["sigma"] else known
    rows.append(("Noise σ", sigma + (", whitened" if facts["whitened"] else "")))
    quality = f"{maps['kind']}{', two of each coil' if maps.get('sets', 1) > 1 else ''}"
    if "residual" in maps:
        verdict = "allowed" if maps["explains"] else "too much: be careful; allowed"
        quality += f"; {maps['residual']:.0%} of the centre left over ({verdict} {maps['allowed']:.0%})"
    rows.append(("Coil maps", quality))
    return rows
