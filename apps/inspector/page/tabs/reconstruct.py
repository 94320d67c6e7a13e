"""Reconstruct: a scan, what was read of it, a method, and the result beside what it came from."""

import asyncio
import html
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.inverse.kinds import SOLVERS

from ...compute.parsing import read_item, read_stack
from ...viewer.page import viewer_frame
from ...web.artefacts import Pane
from ...web.session import Session
from ...web.stored import add_file, add_stack, add_volume
from ...web.uploads import uploaded_path
from ..desk import Desk, note, one_of, result_of, whole

METHODS = tuple(SOLVERS.titles.values())
FIRST_METHOD = SOLVERS.titles["student_pnp"]
AS_MEASURED = "As measured"
ACCELERATIONS = (AS_MEASURED, "2", "4", "6", "8")
SAMPLES = (1, 4, 8, 16)
EXAMPLE_NAMES = tuple(f"Held-out example {number + 1}" for number in range(8))
UPLOADED = "Uploaded scan"

UPLOAD = """
<div class="drop"><label for="scan-file">Send a scan</label>
<input id="scan-file" type="file" multiple aria-describedby="scan-kinds">
<p id="scan-kinds" class="remark">HDF5 (fastMRI, ISMRMRD), NIfTI, DICOM (several files make one series) or NumPy arrays.
It is opened in a separate process, kept in your session alone and removed at its end.</p>
<p class="note" role="status"></p></div>
"""

SEND = """
const input = () => element.querySelector("input[type=file]");
const tell = (text, bad) => {
  const line = element.querySelector("[role=status]");
  line.textContent = text;
  line.classList.toggle("problem", Boolean(bad));
};
const send = async (files) => {
  if (!files.length) return;
  try {
    const id = await window.inspectorUpload([...files], tell);
    tell("Received.");
    trigger("upload", { scan: id });
  } catch (error) {
    tell(error.message, true);
  }
};
element.addEventListener("change", (event) => { if (event.target === input()) send(input().files); });
element.addEventListener("dragover", (event) => {
  event.preventDefault();
  element.querySelector(".drop").classList.add("over");
});
element.addEventListener("dragleave", () => element.querySelector(".drop").classList.remove("over"));
element.addEventListener("drop", (event) => {
  event.preventDefault();
  element.querySelector(".drop").classList.remove("over");
  send(event.dataTransfer.files);
});
"""


def reconstruct_tab(desk: Desk) -> None:
    """Build the tab."""
    import gradio as gr

    upload_id = gr.Textbox(visible=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=340):
            gr.HTML('<h2 class="part">1. Scan</h2>', apply_default_css=False, js_on_load=None)
            scan = gr.Dropdown([*EXAMPLE_NAMES, UPLOADED], value=EXAMPLE_NAMES[0], label="Scan")
            sent = gr.HTML(UPLOAD, js_on_load=SEND, elem_id="upload", apply_default_css=False)
            slice_number = gr.Textbox("", label="Slice of the uploaded scan (empty: the middle one)", max_length=6)
            acceleration = gr.Radio(ACCELERATIONS, value="4", label="Undersample first (fully sampled scans only)")
            with gr.Row():
                read = gr.Button("Read", elem_id="read", min_width=120)
                whole_scan = gr.Button("Look at all slices", elem_id="whole", min_width=150)
            facts = gr.HTML("", elem_id="scan-facts", apply_default_css=False)
        with gr.Column(scale=7, min_width=440):
            gr.HTML('<h2 class="part">2. Method</h2>', apply_default_css=False, js_on_load=None)
            with gr.Row(elem_classes="controls"):
                method = gr.Radio(METHODS, value=FIRST_METHOD, label="Method", elem_id="method")
                samples = gr.Radio(SAMPLES, value=8, label="Samples (learned methods)", elem_id="draws")
            with gr.Row():
                go = gr.Button("Reconstruct", variant="primary", elem_id="go")
                cancel = gr.Button("Cancel", scale=0, min_width=120, elem_id="stop")
            status = gr.HTML("", elem_id="reconstruct-status", apply_default_css=False)
            result = gr.HTML(
                '<p class="empty">The result appears here, beside the zero-filled image.</p>',
                elem_id="result",
                apply_default_css=False,
            )

    async def show_read(
        scan: Any, upload: Any, number: Any, acceleration: Any, request: gr.Request
    ) -> AsyncIterator[str]:
        async for told in read_scan(desk, request, scan, upload, number, acceleration):
            yield told

    async def show_upload(
        number: Any, acceleration: Any, request: gr.Request, event: gr.EventData
    ) -> AsyncIterator[Any]:
        upload = getattr(event, "scan", None)
        async for told in read_scan(desk, request, UPLOADED, upload, number, acceleration):
            yield told, UPLOADED, upload

    async def show_result(
        scan: Any,
        upload: Any,
        number: Any,
        acceleration: Any,
        method: Any,
        samples: Any,
        request: gr.Request,
    ) -> AsyncIterator[Any]:
        async for told, picture in reconstruct(desk, request, scan, upload, number, acceleration, method, samples):
            yield told, gr.skip() if picture is None else picture

    async def show_stack(scan: Any, upload: Any, number: Any, request: gr.Request) -> AsyncIterator[Any]:
        async for told, picture in look_at_all(desk, request, scan, upload, number):
            yield told, gr.skip() if picture is None else picture

    async def stop(request: gr.Request) -> str:
        return await desk.cancel(desk.session(request))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    chosen = [scan, upload_id, slice_number, acceleration]
    read.click(show_read, chosen, facts, trigger_mode="once", **quiet)
    scan.input(show_read, chosen, facts, trigger_mode="always_last", **quiet)
    acceleration.input(show_read, chosen, facts, trigger_mode="always_last", **quiet)
    sent.upload(show_upload, [slice_number, acceleration], [facts, scan, upload_id], trigger_mode="once", **quiet)
    go.click(show_result, [*chosen, method, samples], [status, result], trigger_mode="once", **quiet)
    cancel.click(stop, None, status, **quiet)
    whole_scan.click(show_stack, [scan, upload_id, slice_number], [status, result], trigger_mode="once", **quiet)


async def _source(session: Session, scan: Any, upload: Any, number: Any) -> tuple[str | int, dict[str, Any] | None]:
    """Return what the worker is to read: an example's number, or a file that the child process wrote."""
    chosen = one_of(scan, (*EXAMPLE_NAMES, UPLOADED), "The scan")
    if chosen != UPLOADED:
        return EXAMPLE_NAMES.index(chosen), None
    path, index = _uploaded(session, upload, number)
    out = session.folder / f"item-{upload}.npz"
    return str(out), await asyncio.to_thread(read_item, path, out, index)


def _uploaded(session: Session, upload: Any, number: Any) -> tuple[Path, int | None]:
    """Return what was uploaded, and which of its slices is meant."""
    if not isinstance(upload, str) or not upload:
        raise DataError("Send a scan first.")
    return uploaded_path(session, upload), None if number in (None, "") else whole(number, 0, 100_000, "The slice")


async def look_at_all(
    desk: Desk, request: Any, scan: Any, upload: Any, number: Any
) -> AsyncIterator[tuple[str, str | None]]:
    """Show all slices of an uploaded scan in the viewer."""
    try:
        session = desk.session(request)
        if one_of(scan, (*EXAMPLE_NAMES, UPLOADED), "The scan") != UPLOADED:
            raise DataError("A held-out example is one slice; send a scan to look at all of its slices.")
        path, index = _uploaded(session, upload, number)
        yield note("Reading all slices …", busy=True), None
        out = session.new_path(".npy")
        found = await asyncio.to_thread(read_stack, path, out, index)
        affine = None if found["affine"] is None else np.asarray(found["affine"])
        pane = add_stack(
            session,
            out,
            title="Uploaded scan" if found["kind"] == "picture" else "Uploaded scan, root sum of squares, zero-filled",
            unit="of range" if found["kind"] == "picture" else "units of the file",
            window=tuple(found["window"]),
            affine=_pane_affine(affine),
            spacing=_pane_spacing(found["spacing_mm"]),
        )
        yield note(f"{found['count']} slice{'s' if found['count'] != 1 else ''}."), viewer_frame([pane], height=760)
    except DataError as error:
        yield note(str(error), problem=True), None


def _acceleration(value: Any, found: dict[str, Any] | None) -> float | None:
    chosen = one_of(value, ACCELERATIONS, "The acceleration")
    if found is not None and found["kind"] == "scan" and found["acceleration"] > 1.02:
        return None  # undersampled already: as it was measured, whatever the switch says
    return None if chosen == AS_MEASURED else float(chosen)


async def read_scan(
    desk: Desk, request: Any, scan: Any, upload: Any, number: Any, acceleration: Any
) -> AsyncIterator[str]:
    """Say what was read of a scan."""
    try:
        session = desk.session(request)
        yield note("Reading …", busy=True)
        source, found = await _source(session, scan, upload, number)
        wanted = _acceleration(acceleration, found)
        async for job in desk.follow(session, "read", scan=source, acceleration=wanted):
            if not job.over:
                yield desk.tell(job, "Measuring noise, coils and scale")
        yield _facts(result_of(job), found)
    except DataError as error:
        yield note(str(error), problem=True)


async def reconstruct(
    desk: Desk,
    request: Any,
    scan: Any,
    upload: Any,
    number: Any,
    acceleration: Any,
    method: Any,
    samples: Any,
) -> AsyncIterator[tuple[str, str | None]]:
    """Reconstruct a scan and show the result."""
    try:
        session = desk.session(request)
        kind = tuple(SOLVERS)[METHODS.index(one_of(method, METHODS, "The method"))]
        count = one_of(samples, SAMPLES, "The number of samples")
        yield note("Reading …", busy=True), None
        source, found = await _source(session, scan, upload, number)
        arguments = {
            "scan": source,
            "acceleration": _acceleration(acceleration, found),
            "method": kind,
            "samples": count,
            "folder": str(session.new_path()),
        }
        async for job in desk.follow(session, "reconstruct", **arguments):
            if not job.over:
                yield desk.tell(job, "Reconstructing"), None
        yield "", await asyncio.to_thread(_shown, session, result_of(job), SOLVERS.titles[kind])
    except DataError as error:
        yield note(str(error), problem=True), None


def _facts(measured: dict[str, Any], found: dict[str, Any] | None) -> str:
    sampling, maps = measured["sampling"], measured["maps"]
    height, width = measured["shape"]
    rows = [("Size", f"{width} × {height}, {measured['coils']} coil{'s' if measured['coils'] != 1 else ''}")]
    if found is not None:
        rows.append(("Slice", f"{found['index']} of {found['count']} (counted from 0)"))
        if found["kind"] == "picture":
            rows.append(("Kind", "an image: its scan is simulated here, with 4 coils and little noise"))
        rows.append(("Orientation", "known" if found["oriented"] else "unknown: no left and right are shown"))
        if found["spacing_mm"]:
            rows.append(("Spacing", " × ".join(f"{step:.3g}" for step in found["spacing_mm"]) + " mm"))
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


def _shown(session: Session, found: dict[str, Any], method: str) -> str:
    """Return panes, residual, figures and exports as HTML."""
    images, window = found["images"], (0.0, found["white"])
    place: dict[str, Any] = {"affine": _pane_affine(found["affine"]), "spacing": _pane_spacing(found["spacing"])}
    panes: list[Pane] = []
    for name, title in (("result", method), ("zero_filled", "Zero-filled"), ("reference", "Fully sampled reference")):
        if name in images and not (name == "zero_filled" and method == "Zero-filled"):
            panes.append(add_volume(session, images[name], title=title, unit="scales", window=window, **place))
    if "uncertainty" in images:
        top = max(1e-6, float(np.quantile(images["uncertainty"], 0.999)))
        panes.append(
            add_volume(
                session,
                images["uncertainty"],
                title=f"Standard deviation over {found['samples']} samples",
                unit="scales",
                window=(0.0, top),
                kind="uncertainty",
                **place,
            )
        )
    links = []
    for name, path in found["files"].items():
        artefact = add_file(session, Path(path), name)
        links.append(f'<a href="/artefact/{artefact}/file?keep=true" download="{name}">{name}</a>')
    verdict = (
        "The image explains the measurement"
        if found["explains"]
        else "The image does not explain the measurement: do not rely on it"
    )
    meaning = (
        "Seen again by the scanner, the image must give the measured data up to their noise. "
        "This says nothing about what was not measured: there the image is the method's guess."
    )
    return (
        f'<p class="verdict{"" if found["explains"] else " bad"}"><strong>{verdict}</strong> '
        f"({html.escape(found['sentence'].partition(': ')[2])}). {meaning}</p>"
        + viewer_frame(panes, height=330 + 340 * -(-len(panes) // 2))
        + _table(found, method)
        + f'<h3>Keep</h3><div class="exports">{"".join(links)}</div>'
        + '<p class="remark">Values are in the units of the scan, in its own geometry, without any identifier; the '
        "DICOM files are marked as derived. Files hold the notice; they are removed with your session.</p>"
    )


def _table(found: dict[str, Any], method: str) -> str:
    drawn = "1 sample" if found["samples"] == 1 else f"{found['samples']} samples"
    seconds = f"<p class='remark'>{found['seconds']:.2f} s, {drawn}.</p>"
    if not found["quality"]:
        return seconds
    head = "".join(f"<th scope='col'>{name}</th>" for name in found["quality"])
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th>" + "".join(f"<td>{value:.4g}</td>" for value in values) + "</tr>"
        for name, values in (
            (method, found["quality"].values()),
            ("Zero-filled", found["zero_filled_quality"].values()),
        )
    )
    return (
        f"{seconds}<div class='scroll' tabindex='0' role='region' aria-label='Image quality'><table class='figures'>"
        f"<thead><tr><th scope='col'>Against the fully sampled image</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _pane_affine(affine: Any) -> np.ndarray | None:
    """Turn an affine of (y, x, slice) into one of (x, y, z)."""
    return None if affine is None else np.asarray(affine)[:, [1, 0, 2, 3]]


def _pane_spacing(spacing: Any) -> tuple[float, float, float] | None:
    """Turn a spacing of (y, x[, slice]) into one of (z, y, x)."""
    if spacing is None:
        return None
    y, x, *z = spacing
    return (float(z[0]) if z else 1.0, float(y), float(x))
