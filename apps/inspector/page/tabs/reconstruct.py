"""Reconstruct: a scan, what was read of it, a method, and the result beside what it came from."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.inverse.kinds import SOLVERS

from ...compute.parsing import read_stack
from ...viewer.page import viewer_frame
from ...web.artefacts import Item
from ...web.stored import add_stack
from ..desk import Desk, note, one_of, result_of
from ..findings import facts_html, pane_affine, pane_spacing, result_html
from ..scans import (
    ACCELERATIONS,
    EXAMPLE_NAMES,
    UPLOADED,
    chosen_acceleration,
    chosen_upload,
    is_upload,
    read_scan_item,
)

METHODS = tuple(SOLVERS.titles.values())
FIRST_METHOD = SOLVERS.titles["student_pnp"]
SAMPLES = (1, 4, 8, 16)

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
        async for news in read_scan(desk, request, scan, upload, number, acceleration):
            yield news

    async def show_upload(
        number: Any, acceleration: Any, request: gr.Request, event: gr.EventData
    ) -> AsyncIterator[Any]:
        upload = getattr(event, "scan", None)
        async for news in read_scan(desk, request, UPLOADED, upload, number, acceleration):
            yield news, UPLOADED, upload

    async def show_result(
        scan: Any,
        upload: Any,
        number: Any,
        acceleration: Any,
        method: Any,
        samples: Any,
        request: gr.Request,
    ) -> AsyncIterator[Any]:
        async for news, picture in reconstruct(desk, request, scan, upload, number, acceleration, method, samples):
            yield news, gr.skip() if picture is None else picture

    async def show_stack(scan: Any, upload: Any, number: Any, request: gr.Request) -> AsyncIterator[Any]:
        async for news, picture in look_at_all(desk, request, scan, upload, number):
            yield news, gr.skip() if picture is None else picture

    async def stop(request: gr.Request) -> str:
        return await desk.cancel(desk.session(request))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    scan_inputs = [scan, upload_id, slice_number, acceleration]
    read.click(show_read, scan_inputs, facts, trigger_mode="once", **quiet)
    scan.input(show_read, scan_inputs, facts, trigger_mode="always_last", **quiet)
    acceleration.input(show_read, scan_inputs, facts, trigger_mode="always_last", **quiet)
    sent.upload(show_upload, [slice_number, acceleration], [facts, scan, upload_id], trigger_mode="once", **quiet)
    go.click(show_result, [*scan_inputs, method, samples], [status, result], trigger_mode="once", **quiet)
    cancel.click(stop, None, status, **quiet)
    whole_scan.click(show_stack, [scan, upload_id, slice_number], [status, result], trigger_mode="once", **quiet)


async def look_at_all(
    desk: Desk, request: Any, scan: Any, upload: Any, number: Any
) -> AsyncIterator[tuple[str, str | None]]:
    """Show all slices of an uploaded scan in the viewer."""
    try:
        session = desk.session(request)
        if not is_upload(scan):
            raise DataError("A held-out example is one slice; send a scan to look at all of its slices.")
        path, index = chosen_upload(session, upload, number)
        yield note("Reading all slices …", busy=True), None
        out = session.new_path(".npy")
        stack = await asyncio.to_thread(read_stack, path, out, index)
        affine = None if stack["affine"] is None else np.asarray(stack["affine"])
        pane = add_stack(
            session,
            out,
            title="Uploaded scan" if stack["kind"] == "picture" else "Uploaded scan, root sum of squares, zero-filled",
            unit="of range" if stack["kind"] == "picture" else "units of the file",
            window=tuple(stack["window"]),
            affine=pane_affine(affine),
            spacing=pane_spacing(stack["spacing_mm"]),
        )
        yield note(f"{stack['count']} slice{'s' if stack['count'] != 1 else ''}."), viewer_frame([pane], height=760)
    except DataError as error:
        yield note(str(error), problem=True), None


def _asked(item: int | Item, acceleration: Any) -> dict[str, Any]:
    """Return which scan the worker is to take, and how."""
    scan = str(item.path) if isinstance(item, Item) else item
    return {"scan": scan, "acceleration": chosen_acceleration(acceleration, item)}


async def read_scan(
    desk: Desk, request: Any, scan: Any, upload: Any, number: Any, acceleration: Any
) -> AsyncIterator[str]:
    """Say what was read of a scan."""
    try:
        session = desk.session(request)
        yield note("Reading …", busy=True)
        item = await asyncio.to_thread(read_scan_item, session, scan, upload, number)
        async for job in desk.follow(session, "read", **_asked(item, acceleration)):
            if not job.over:
                yield desk.tell(job, "Measuring noise, coils and scale")
        yield facts_html(result_of(job), item.facts if isinstance(item, Item) else None)
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
        item = await asyncio.to_thread(read_scan_item, session, scan, upload, number)
        arguments = {"method": kind, "samples": count, "folder": str(session.new_path())}
        async for job in desk.follow(session, "reconstruct", **_asked(item, acceleration), **arguments):
            if not job.over:
                yield desk.tell(job, "Reconstructing"), None
        yield "", await asyncio.to_thread(result_html, session, result_of(job), SOLVERS.titles[kind])
    except DataError as error:
        yield note(str(error), problem=True), None
