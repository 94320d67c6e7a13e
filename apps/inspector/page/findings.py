"""What was read of a scan, and what a reconstruction found, as HTML."""

import html
from pathlib import Path
from typing import Any

import numpy as np

from ..viewer.page import viewer_frame
from ..web.artefacts import Pane
from ..web.session import Session
from ..web.stored import add_file, add_volume


def facts_html(measured: dict[str, Any], in_file: dict[str, Any] | None) -> str:
    """Return what was measured of a scan and, of an upload, what was found in its file."""
    sampling, maps = measured["sampling"], measured["maps"]
    height, width = measured["shape"]
    rows = [("Size", f"{width} × {height}, {measured['coils']} coil{'s' if measured['coils'] != 1 else ''}")]
    if in_file is not None:
        rows.append(("Slice", f"{in_file['index']} of {in_file['count']} (counted from 0)"))
        if in_file["kind"] == "picture":
            rows.append(("Kind", "an image: its scan is simulated here, with 4 coils and little noise"))
        rows.append(("Orientation", "known" if in_file["oriented"] else "unknown: no left and right are shown"))
        if in_file["spacing_mm"]:
            rows.append(("Spacing", " × ".join(f"{step:.3g}" for step in in_file["spacing_mm"]) + " mm"))
        rows += [("Note", sentence) for sentence in in_file["notices"]]
    rows.append(
        (
            "Sampling",
            f"{sampling['sampled']} of {width if sampling['pattern'] == 'columns' else width * height} "
            f"{sampling['pattern']}: {sampling['acceleration']:.2f}-fold, {sampling['acs']} central lines",
        )
    )
    source = {
        None: "not known",
        "scan": "from the noise scan",
        "edges": "from the edges of k-space",
        "edges and background": "from the edges of k-space and the background",
    }
    known = source.get(measured["noise_source"], "from the background")
    sigma = f"{measured['sigma']:.4g} (scaled units), {known}" if measured["sigma"] else known
    rows.append(("Noise σ", sigma + (", whitened" if measured["whitened"] else "")))
    quality = maps["kind"]
    if "residual" in maps:
        verdict = "they explain the data" if maps["explains"] else "they do NOT explain the data: be careful"
        quality += f"; {maps['residual']:.1%} of the centre left over (allowed {maps['allowed']:.1%}): {verdict}"
    rows.append(("Coil maps", quality))
    rows.append(("Reference", "fully sampled image, for comparison" if measured["reference"] else "none"))
    learned = (
        "fit this scan" if measured["learned"] else "do not fit this scan: it has another size than their training"
    )
    rows.append(("Learned methods", learned))
    return (
        "<dl class='facts'>"
        + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows)
        + "</dl>"
    )


def result_html(session: Session, result: dict[str, Any], method: str) -> str:
    """Return panes, residual, figures and exports as HTML."""
    images, window = result["images"], (0.0, result["white"])
    geometry: dict[str, Any] = {"affine": pane_affine(result["affine"]), "spacing": pane_spacing(result["spacing"])}
    panes: list[Pane] = []
    for name, title in (("result", method), ("zero_filled", "Zero-filled"), ("reference", "Fully sampled reference")):
        if name in images and not (name == "zero_filled" and method == "Zero-filled"):
            panes.append(add_volume(session, images[name], title=title, unit="scales", window=window, **geometry))
    if "uncertainty" in images:
        top = max(1e-6, float(np.quantile(images["uncertainty"], 0.999)))
        panes.append(
            add_volume(
                session,
                images["uncertainty"],
                title=f"Standard deviation over {result['samples']} samples",
                unit="scales",
                window=(0.0, top),
                kind="uncertainty",
                **geometry,
            )
        )
    links = []
    for name, path in result["files"].items():
        artefact = add_file(session, Path(path), name)
        links.append(f'<a href="/artefact/{artefact}/file?keep=true" download="{name}">{name}</a>')
    verdict = (
        "The image explains the measurement"
        if result["explains"]
        else "The image does not explain the measurement: do not rely on it"
    )
    meaning = (
        "Seen again by the scanner, the image must give the measured data up to their noise. "
        "This says nothing about what was not measured: there the image is the method's guess."
    )
    return (
        f'<p class="verdict{"" if result["explains"] else " bad"}"><strong>{verdict}</strong> '
        f"({html.escape(result['residual'])}). {meaning}</p>"
        + _hidden(result)
        + viewer_frame(panes, height=330 + 340 * -(-len(panes) // 2))
        + _table(result, method)
        + f'<h3>Keep</h3><div class="exports">{"".join(links)}</div>'
        + '<p class="remark">Values are in the units of the scan, in its own geometry, without any identifier; the '
        "DICOM files are marked as derived. Files hold the notice; they are removed with your session.</p>"
    )


def _hidden(result: dict[str, Any]) -> str:
    """Return what hidden lines say of a learned method; nothing of others."""
    if not result["hidden"]:
        return ""
    return f'<p class="{"verdict bad" if result["doubtful"] else "remark"}">{html.escape(result["hidden"])}</p>'


def _table(result: dict[str, Any], method: str) -> str:
    drawn = "1 sample" if result["samples"] == 1 else f"{result['samples']} samples"
    seconds = f"<p class='remark'>{result['seconds']:.2f} s, {drawn}.</p>"
    if not result["quality"]:
        return seconds
    head = "".join(f"<th scope='col'>{name}</th>" for name in result["quality"])
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th>" + "".join(f"<td>{value:.4g}</td>" for value in values) + "</tr>"
        for name, values in (
            (method, result["quality"].values()),
            ("Zero-filled", result["zero_filled_quality"].values()),
        )
    )
    return (
        f"{seconds}<div class='scroll' tabindex='0' role='region' aria-label='Image quality'><table class='figures'>"
        f"<thead><tr><th scope='col'>Against the fully sampled image</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def pane_affine(affine: Any) -> np.ndarray | None:
    """Turn an affine of (y, x, slice) into one of (x, y, z)."""
    return None if affine is None else np.asarray(affine)[:, [1, 0, 2, 3]]


def pane_spacing(spacing: Any) -> tuple[float, float, float] | None:
    """Turn a spacing of (y, x[, slice]) into one of (z, y, x)."""
    if spacing is None:
        return None
    y, x, *z = spacing
    return (float(z[0]) if z else 1.0, float(y), float(x))
