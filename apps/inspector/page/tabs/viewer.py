"""Viewer: anything this session holds, side by side."""

from typing import Any

from rsd_med.base.errors import DataError

from ...viewer.page import MOST_PANES, viewer_frame
from ...web.session import Session
from ..desk import Desk, note

NOTHING = "Nothing is here yet: look closely at a sample, or reconstruct a scan, and it can be chosen here."


def viewer_tab(tab: Any, desk: Desk) -> None:
    """Build the tab; the list is renewed whenever it is opened."""
    import gradio as gr

    with gr.Row(elem_classes="controls"):
        chosen = gr.CheckboxGroup(
            [], label=f"Images of this session, newest first (choose up to {MOST_PANES})", elem_id="viewer-choices"
        )
        show = gr.Button("Show side by side", variant="primary", min_width=180, scale=0)
    status = gr.HTML(note(NOTHING), elem_id="viewer-status", apply_default_css=False)
    frame = gr.HTML("", elem_id="viewer-frame", apply_default_css=False)

    def renew(request: gr.Request) -> tuple[Any, str]:
        try:
            choices = volumes_of(desk.session(request))
        except DataError as error:
            return gr.update(choices=[], value=[]), note(str(error), problem=True)
        sentence = note("Choose what to show." if choices else NOTHING)
        return gr.update(choices=choices, value=[]), sentence

    def open_viewer(artefacts: Any, request: gr.Request) -> tuple[Any, str]:
        try:
            return show_side_by_side(desk.session(request), artefacts), note("")
        except DataError as error:
            return gr.skip(), note(str(error), problem=True)

    tab.select(renew, None, [chosen, status], show_progress="hidden", api_visibility="private")
    show.click(open_viewer, chosen, [frame, status], show_progress="hidden", api_visibility="private")


def volumes_of(session: Session) -> list[tuple[str, str]]:
    """Return (title, opaque id) of a session's volumes, newest first, titles told apart by a number."""
    with session.lock:
        shown = [owned for owned in session.artefacts.values() if owned.pane is not None]
    return [(f"{number}. {owned.pane.title}", owned.id) for number, owned in enumerate(shown, 1) if owned.pane][::-1]


def show_side_by_side(session: Session, artefacts: Any) -> str:
    """Return a frame with the chosen volumes.

    Parameters
    ----------
    session
        Whose volumes.
    artefacts
        Opaque ids, as a browser sent them.

    Raises
    ------
    DataError
        When none or too many are chosen, or one is not this session's.
    """
    if not isinstance(artefacts, list) or not 1 <= len(artefacts) <= MOST_PANES:
        raise DataError(f"Choose one to {MOST_PANES} images.")
    panes = []
    for artefact in artefacts:
        owned = session.artefacts.get(artefact) if isinstance(artefact, str) else None
        if owned is None or owned.pane is None:
            raise DataError("One of these images is gone; open the tab again to renew the list.")
        panes.append(owned.pane)
    return viewer_frame(panes, height=760)
